"""The chart: rates of the main legs as bars, in SVG written by hand; one scale for each panel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from xml.sax.saxutils import escape

PANELS = {
    "in memory": (
        "In memory",
        ("put_nowait", "put_nowait, full call", "await put", "bare loop", "pop-evbus put_nowait"),
    ),
    "RabbitMQ": (
        "RabbitMQ, persistent and confirmed",
        (
            "one profile",
            "wire limit",
            "aio-pika, 1000 in flight",
            "FastStream, 500 in flight",
            "kombu, confirm_publish",
            "pop-evbus + evbus-pika",
        ),
    ),
    "Kafka": (
        "Kafka, acks=all and idempotent",
        ("one profile", "confluent-kafka produce", "confluent-kafka, linger 0", "aiokafka send"),
    ),
}
OURS = {"put_nowait", "put_nowait, full call", "await put", "one profile"}
LIMITS = {"bare loop", "wire limit"}
WIDTH, LEFT, RIGHT, BAR, GAP = 640, 220, 70, 20, 8
PALETTES = {
    "light": {"text": "#1f2933", "note": "#616e7c", "ours": "#2f6fde", "limit": "#9aa5b1", "peer": "#cbd2d9"},
    "dark": {"text": "#e4e7eb", "note": "#9aa5b1", "ours": "#6ea8fe", "limit": "#7b8794", "peer": "#52606d"},
}
NOTES = (
    "Events per second, small bodies; medians of one run; each panel has its own scale.",
    "Blue: evbus_like. Darker grey: the limit. Lighter grey: peers.",
)


def draw(results: Iterable[dict[str, Any]], theme: str) -> str:
    """Give the SVG text, for a light or a dark background."""
    colours = PALETTES[theme]
    parts: list[str] = []
    y = 10
    for group in results:
        if group["name"] in PANELS:
            title, names = PANELS[group["name"]]
            y = _panel(parts, y, title, [leg for name in names for leg in group["legs"] if leg["name"] == name])
    parts += [
        f'<text class="note" x="10" y="{y + 10 + 18 * number}">{note}</text>' for number, note in enumerate(NOTES)
    ]
    style = "\n".join(
        [
            f"  text {{ font: 13px sans-serif; fill: {colours['text']} }}",
            "  .title { font-weight: bold; font-size: 15px }",
            f"  .note {{ font-size: 12px; fill: {colours['note']} }}",
            *(f"  .{kind} {{ fill: {colours[kind]} }}" for kind in ("ours", "limit", "peer")),
        ]
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 42}" role="img">'
    return "\n".join(
        [head, "<title>evbus_like beside its peers</title>", f"<style>\n{style}\n</style>", *parts, "</svg>\n"]
    )


def _panel(parts: list[str], y: int, title: str, legs: list[dict[str, Any]]) -> int:
    """Draw one panel from `y` on, and give where it ends."""
    parts.append(f'<text class="title" x="10" y="{y + 15}">{escape(title)}</text>')
    y += 28
    most = max(leg["rate"] for leg in legs)
    for leg in legs:
        kind = "ours" if leg["name"] in OURS else "limit" if leg["name"] in LIMITS else "peer"
        name = f"evbus_like: {leg['name']}" if kind == "ours" else leg["name"]
        width = max(1.0, (WIDTH - LEFT - RIGHT) * leg["rate"] / most)
        middle = y + BAR - 6
        parts.append(f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>')
        parts.append(f'<text x="{LEFT + width + 6:.1f}" y="{middle}">{leg["rate"]:,.0f}</text>')
        y += BAR + GAP
    return y + 14
