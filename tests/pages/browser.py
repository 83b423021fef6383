"""Pages in headless Chromium, at the widths of a phone and a desk, light and dark; their pictures are kept in artifacts/pages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from by_path import ROOT

PICTURES = ROOT / "artifacts" / "pages"
AXE = ROOT / ".venv/pages/node_modules/axe-core/axe.min.js"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LOOKS = [(width, scheme) for width in (390, 1280) for scheme in ("light", "dark")]
GRAVE = ("serious", "critical")
# What a page has that a reader cannot get at: it is wider than the screen, or text is cut where nothing scrolls.
BEYOND = """() => {
  const wide = document.scrollingElement.scrollWidth - window.innerWidth;
  const cut = [...document.querySelectorAll('body *')].filter(one => {
    const style = getComputedStyle(one);
    const hides = style.overflowX === 'hidden' || style.overflowX === 'clip';
    const box = one.getBoundingClientRect();  // a drawer that is closed lies beside the screen
    return box.right > 0 && box.left < window.innerWidth && hides && one.clientWidth > 1 && one.scrollWidth > one.clientWidth + 1 && one.innerText && one.innerText.trim()
      && style.visibility !== 'hidden' && style.textOverflow !== 'ellipsis';
  });
  return [...(wide > 0 ? [`the page is ${wide} px wider than the screen`] : []),
    ...cut.map(one => `${one.tagName.toLowerCase()}.${one.className} cuts ${one.innerText.trim().slice(0, 60)}`)];
}"""


def missing() -> str:
    """Why no page can be looked at here."""
    if not CHROMIUM:
        return "Chromium is not installed: apt-get install chromium"
    if not AXE.exists():
        return "axe-core is not installed: make .venv/.pages"
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "playwright is not installed: make .venv/.pages"
    return ""


class Look:
    """A page as it is shown in a window of this width and this colour scheme, with all that the browser complains of."""

    def __init__(self, context: Any, width: int, scheme: str) -> None:
        self.width, self.scheme = width, scheme
        self.complaints: list[str] = []
        self.page = context.new_page()
        self.page.on("console", self.said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", self.lost)

    def said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def lost(self, request: Any) -> None:
        # Whoever leaves a page ends what it still loads.
        if "ERR_ABORTED" not in (request.failure or ""):
            self.complaints.append(f"failed: {request.url}: {request.failure}")

    def open(self, path: Path) -> Look:
        return self.visit(path.as_uri())

    def visit(self, address: str) -> Look:
        self.complaints.clear()
        self.page.goto(address)
        return self

    def keep(self, name: str) -> Path:
        """The whole page as a picture."""
        file = PICTURES / f"{name}-{self.width}-{self.scheme}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(file), full_page=True)
        return file

    def beyond(self) -> list[str]:
        found: list[str] = self.page.evaluate(BEYOND)
        return found

    def faults(self) -> list[str]:
        """What axe-core finds serious or critical."""
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        return [
            f"{one['impact']}: {one['id']}: {node['target']}: {node['failureSummary']}"
            for one in found
            if one["impact"] in GRAVE
            for node in one["nodes"]
        ]


@contextmanager
def chromium() -> Iterator[Callable[..., Look]]:
    """Opens windows: each call is one."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Root has no sandbox there; what is opened are the project's own files.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def window(width: int, scheme: str, offline: bool = True) -> Look:
            size = {"width": width, "height": 844 if width < 600 else 800}
            context = browser.new_context(viewport=size, color_scheme=scheme, offline=offline)
            return Look(context, width, scheme)

        try:
            yield window
        finally:
            browser.close()


def required() -> None:
    """Says what is missing, as a failure: whoever asks for this suite wants the pages to be looked at."""
    if why := missing():
        pytest.fail(why, pytrace=False)
