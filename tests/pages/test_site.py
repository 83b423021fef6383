"""The documentation's site, as a person reads it on a phone and at a desk, light and dark."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser import LOOKS, Look
from by_path import ROOT

# Their pictures are kept, and axe-core judges them; of all pages it is tested that nothing is cut off and nothing complains.
KEPT = ("index", "start", "console", "report", "troubleshooting", "architecture")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, browser: None) -> Path:
    made = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(made)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """Its search needs a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_every_page(window: Callable[..., Look], site: Path, address: str, width: int, scheme: str) -> None:
    look = window(width, scheme, offline=False)
    look.page.on("request", lambda asked: asked.url.startswith(address) or look.complaints.append(asked.url))
    found = {}
    for path in sorted(site.rglob("*.html")):
        name = path.relative_to(site).with_suffix("").as_posix()
        look.visit(f"{address}/{name}.html")
        if name in KEPT:
            look.keep(f"site-{name}")
        wrong = [*look.complaints, *look.beyond()]
        if name in KEPT:
            wrong += look.faults()
        if wrong and name != "404":
            found[name] = wrong
    look.page.context.close()
    assert found == {}


def test_the_search_finds(window: Callable[..., Look], address: str) -> None:
    look = window(1280, "light", offline=False).visit(f"{address}/index.html")
    look.page.get_by_placeholder("Search").first.fill("preflight")
    look.page.wait_for_selector(".md-search-result__item")
    assert look.complaints == []
