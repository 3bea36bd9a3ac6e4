"""The pictures of `benchmarks.growth`: one diagram below the other, both axes logarithmic, in SVG written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor, log10
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.curves import Curve, Panel

WIDTH, LEFT, RIGHT, HEIGHT, LEGEND = 560, 56, 330, 140, 350  # where a diagram begins and ends, and its legend
THEMES: dict[str, dict[str, Any]] = {
    "light": {"text": "#1f2933", "soft": "#52606d", "grid": "#d9e2ec"},
    "dark": {"text": "#f0f4f8", "soft": "#bcccdc", "grid": "#334e68"},
}
LINES = {"light": ("#2f6fde", "#b7791f", "#2b8a4b", "#c53030"), "dark": ("#6ea8fe", "#f0b429", "#5fd38d", "#f29b9b")}
UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
Figures = Mapping[str, Mapping[str, Mapping[str, float]]]  # by case, size and figure
Points = list[tuple[int, float]]


def draw(curve: Curve, found: Figures, theme: str) -> str:
    """Give the SVG text, for a light or a dark background."""
    parts = [_text(10, 22, curve.title, THEMES[theme]["text"], size=15, bold=True)]
    y = 40
    for panel in curve.panels:
        y = _panel(parts, y, curve, panel, found, theme)
    parts.append(_text((LEFT + RIGHT) / 2, y, curve.axis, THEMES[theme]["soft"], anchor="middle"))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 12}" width="{WIDTH}" height="{y + 12}" '
        'role="img" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">'
    )
    return "\n".join([head, f"<title>{escape(curve.title)}</title>", *parts, "</svg>\n"])


def short(value: float) -> str:
    """Give a number with two digits, as people say it: 450k."""
    for size, unit in UNITS:
        if value >= 0.9995 * size:
            return f"{float(f'{value / size:.2g}'):g}{unit}"
    return f"{float(f'{value:.2g}'):g}"


def _panel(parts: list[str], y: int, curve: Curve, panel: Panel, found: Figures, theme: str) -> int:
    """Draw one diagram from `y` on, and give where the next one begins."""
    text, soft, grid = THEMES[theme].values()
    lines = [(line.label, _points(found, line.case, line.figure)) for line in panel.lines]
    sizes = sorted({size for _, points in lines for size, _ in points})
    values = [value for _, points in lines for _, value in points]
    low, high = floor(log10(min(values)) + 1e-9), ceil(log10(max(values)) - 1e-9)
    high = max(high, low + 1)
    top, bottom = y + 12, y + 12 + HEIGHT

    def across(size: int) -> float:
        span = log10(sizes[-1] / sizes[0]) or 1.0
        return LEFT + 8 + (RIGHT - LEFT - 16) * log10(size / sizes[0]) / span

    def up(value: float) -> float:
        return bottom - HEIGHT * (log10(value) - low) / (high - low)

    parts.append(_text(10, y, panel.title, text, bold=True))
    for power in range(low, high + 1):
        at = up(10.0**power)
        parts.append(f'<path d="M{LEFT} {at:.1f} L{RIGHT} {at:.1f}" stroke="{grid}" stroke-width="1"/>')
        parts.append(_text(LEFT - 6, at + 4, short(10.0**power), soft, anchor="end"))
    for size in sizes:
        parts.append(_text(across(size), bottom + 16, short(size), soft, anchor="middle"))
    for number, (label, points) in enumerate(lines):
        colour = LINES[theme][number]
        path = " ".join(f"{'L' if at else 'M'}{across(x):.1f} {up(v):.1f}" for at, (x, v) in enumerate(points))
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across(x):.1f}" cy="{up(v):.1f}" r="3" fill="{colour}"/>' for x, v in points]
        at = top + 8 + 34 * number
        parts.append(f'<rect x="{LEGEND}" y="{at - 9}" width="14" height="10" rx="2" fill="{colour}"/>')
        parts.append(_text(LEGEND + 20, at, label, text))
        parts.append(_text(LEGEND + 20, at + 15, f"{short(points[0][1])} to {short(points[-1][1])}", soft))
    return bottom + 42


def _points(found: Figures, case: str, figure: str) -> Points:
    """Give the points of a line; a logarithm has no place for 0."""
    return sorted((int(size), figures[figure]) for size, figures in found[case].items() if figures[figure] > 0)


def _text(
    x: float, y: float, text: str, colour: str, *, anchor: str = "start", size: int = 13, bold: bool = False
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y:g}" fill="{colour}" font-size="{size}" text-anchor="{anchor}"{weight}>'
        f"{escape(text)}</text>"
    )
