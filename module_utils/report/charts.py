"""Curves as SVG, drawn by pygal. Its colours, fonts and lines are the page's own style: light, dark and in print."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from .metrics import Series, thinned

COLOURS = 8
# Curves of which it is said that they have values that are not finite.
LOST = 3
WIDTH, HEIGHT = 640, 300
# Points of a curve that get a dot, with its value to read on it.
DOTS = 130
# A curve with so many times the points of another lies behind it, thin: each step behind each epoch.
CROWDED = 4
DECIMALS = re.compile(r"-?\d+\.\d+")
SVG = "{http://www.w3.org/2000/svg}"


class LibraryMissing(Exception):
    """A sentence for whoever runs the playbook."""


@dataclass
class Chart:
    """`svg` is markup of pygal's that holds nothing but shapes, and text that it has escaped."""

    title: str
    svg: str
    axis: str
    log: bool
    legend: list[dict[str, Any]] = field(default_factory=list)
    more: int = 0
    notes: list[str] = field(default_factory=list)


def pygal() -> Any:
    try:
        import pygal
    except ImportError as error:
        raise LibraryMissing(
            f"The report's curves are drawn by the Python library pygal, which the controller's Python lacks ({error}): "
            "'make .venv/.installed' or 'pip install -r requirements.txt' installs it."
        ) from error
    return pygal


def figure(value: float) -> str:
    """A number for people: four digits that count."""
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        text = f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
        return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text
    return f"{value:.3g}"


def steps(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from below the lowest to above the highest."""
    if low == high:
        low, high = low - abs(low) / 2, high + abs(high) / 2
    length = high - low or 1.0
    rough = length / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return [round(number * step, 12) if step > 1e-9 else number * step for number in range(first, last + 1)]


def decades(low: float, high: float) -> list[float]:
    """Exponents of ten around two positive numbers."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)
    return [float(number) for number in range(first, last + 1, max(1, math.ceil((last - first) / 6)))]


def draw(title: str, series: list[Series], most: int = 1000, axis: str = "") -> Chart | None:
    """A chart of the first COLOURS curves with anything in them; None where there is none. `most` bounds the points of each."""
    library = pygal()
    drawn = [one for one in series if one.count]
    lost = [one for one in series if one.lost]
    more = max(0, len(drawn) - COLOURS)
    drawn = drawn[:COLOURS]
    values = [y for one in drawn for _x, y in one.points if y is not None]
    notes = [
        f"{one.label}: {one.lost:,} value{'s' if one.lost > 1 else ''} not finite, the first at {one.axis} {figure(one.first_lost)}."
        for one in lost[:LOST]
    ]
    if len(lost) > LOST:
        notes.append(f"The same in {len(lost) - LOST} more.")
    if not values:
        return Chart(title, "", axis, log=False, notes=notes) if notes else None
    log = "loss" in title.lower() and min(values) > 0 and max(values) / min(values) >= 30
    chart = library.XY(
        style=library.style.Style(
            background="transparent", plot_background="transparent", label_font_size=17, font_family="inherit"
        ),
        js=[],
        width=WIDTH,
        height=HEIGHT,
        margin=8,
        show_legend=False,
        no_prefix=True,
        allow_interruptions=True,
        dots_size=3,
        formatter=str,
    )
    places = [x for one in drawn for x, _y in one.points]
    first, last = min(places), max(places)
    across = [x for x in steps(first, last) if first <= x <= last] or [first]
    if drawn[0].axis in ("step", "epoch", "line") and last - first >= 1:
        across = sorted({float(round(x)) for x in across})
    chart.x_labels = [{"value": x, "label": figure(x)} for x in across]
    up = decades(min(values), max(values)) if log else steps(min(values), max(values))
    chart.y_labels = [{"value": y, "label": figure(10**y if log else y)} for y in up]
    chart.range = (up[0], up[-1])
    chart.xrange = (first, last) if first < last else (first - 1, last + 1)
    legend = []
    for place, one in enumerate(drawn):
        points = thinned(one.points, most)
        dots = len(points) <= DOTS
        chart.add("", [value(one, x, y, log, dots) for x, y in points], show_dots=dots)
        legend.append({"colour": place, "label": one.label, "last": figure(one.last or 0.0), "count": one.count})
        left_out = one.count - sum(y is not None for _x, y in points)
        if left_out:
            notes.append(
                f"{one.label}: {one.count - left_out:,} of {one.count:,} points are drawn, the extremes among them."
            )
    about = f"{title} by {axis or drawn[0].axis}: {', '.join(one.label for one in drawn)}"
    fewest = min(one.count for one in drawn)
    behind = {place for place, one in enumerate(drawn) if one.count > CROWDED * fewest}
    return Chart(title, bare(chart, about, behind), axis or drawn[0].axis, log, legend, more, notes)


def value(one: Series, x: float, y: float | None, log: bool, dot: bool) -> Any:
    if y is None:
        return (x, None)
    point = (x, math.log10(y) if log else y)
    return {"value": point, "tooltip": f"{one.label}: {figure(y)} at {one.axis} {figure(x)}"} if dot else point


def bare(chart: Any, about: str, behind: set[int]) -> str:
    """The drawing without pygal's own style, script and descriptions, which inline would be the page's.

    `about` is for who hears the page; the curves with the places `behind` are drawn first, under the others.
    """
    root = chart.render_tree()
    unwanted = {"style", "script", "desc", "defs"}
    for parent in list(root.iter()):
        inner = parent.attrib.get("class", "")
        for child in list(parent):
            name = str(child.tag).replace(SVG, "") if isinstance(child.tag, str) else ""
            titled = name == "title" and "dots" not in inner.split()
            tooltip = "tooltip" in child.attrib.get("class", "").split() or "tooltip-overlay" in child.attrib.get(
                "class", ""
            )
            if not name or name in unwanted or titled or tooltip or (name == "g" and not len(child) and not child.text):
                parent.remove(child)
        if parent.attrib.get("class", "").startswith("dot "):
            parent.attrib = {key: short(parent.attrib[key]) for key in ("cx", "cy", "r")}
        elif "d" in parent.attrib:
            parent.attrib["d"] = DECIMALS.sub(lambda found: short(found[0]), parent.attrib["d"])
    put_behind(root, behind)
    root.attrib.clear()
    root.attrib.update({"viewBox": f"0 0 {WIDTH} {HEIGHT}", "class": "chart", "role": "img", "aria-label": about})
    for part in root.iter():
        if isinstance(part.tag, str):
            part.tag = part.tag.replace(SVG, "")
    return ElementTree.tostring(root, encoding="unicode")


def put_behind(root: ElementTree.Element, behind: set[int]) -> None:
    classes = {f"serie-{place}" for place in behind}
    for parent in list(root.iter()):
        curves = [child for child in parent if "series" in child.attrib.get("class", "").split()]
        thin = [child for child in curves if classes & set(child.attrib["class"].split())]
        for child in thin:
            child.attrib["class"] += " behind"
        if thin:
            first = list(parent).index(curves[0])
            order = [*thin, *(child for child in curves if child not in thin)]
            parent[first : first + len(curves)] = order


def short(text: str) -> str:
    """A coordinate with one decimal; what is none stays as it is."""
    try:
        return f"{float(text):.1f}"
    except ValueError:
        return text
