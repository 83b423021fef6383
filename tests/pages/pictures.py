"""The pictures in README and docs: what `make console` and `make pages` have kept of real runs. Run by `make pictures`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from browser import PICTURES, chromium, missing
from by_path import ROOT

SCREEN = ROOT / "artifacts" / "console" / "watch-110x9.svg"
REPORT = PICTURES / "report.html"
MADE = ROOT / "docs" / "pictures"
LARGEST = 300_000  # bytes


def main() -> str:
    if why := missing():
        return why
    for file, target in ((SCREEN, "make console"), (REPORT, "make pages")):
        if not file.exists():
            return f"{file.relative_to(ROOT)} is not there: run '{target}' first."
    MADE.mkdir(exist_ok=True)
    shutil.copy(SCREEN, MADE / "console.svg")
    with chromium() as window:
        look = window(1280, "light").open(REPORT)
        # Not all of it: the header, the first curves, and what happened when.
        look.page.add_style_tag(content="#curves figure:nth-child(n + 3), #throughput { display: none }")
        box = look.page.locator("#timeline").bounding_box()
        part = {"x": 0, "y": 0, "width": 1280, "height": box["y"] + box["height"] + 10}
        look.page.screenshot(path=str(MADE / "report.png"), clip=part, full_page=True)
    large = [file.name for file in MADE.iterdir() if file.stat().st_size > LARGEST]
    return f"More than {LARGEST:,} bytes: {', '.join(large)}" if large else ""


if __name__ == "__main__":
    sys.exit(main() or None)
