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
WIDTH, LEFT, RIGHT, BAR, GAP = 800, 250, 90, 20, 8
STYLE = """
  text { font: 13px sans-serif; fill: #1f2933 }
  .title { font-weight: bold; font-size: 15px }
  .note { font-size: 12px; fill: #616e7c }
  .ours { fill: #2f6fde } .limit { fill: #9aa5b1 } .peer { fill: #cbd2d9 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e7eb } .note { fill: #9aa5b1 } .limit { fill: #7b8794 } .peer { fill: #52606d }
  }
"""


def draw(results: Iterable[dict[str, Any]]) -> str:
    """Give the SVG text."""
    parts: list[str] = []
    y = 10
    for group in results:
        if group["name"] in PANELS:
            title, names = PANELS[group["name"]]
            y = _panel(parts, y, title, [leg for name in names for leg in group["legs"] if leg["name"] == name])
    parts.append(f'<text class="note" x="10" y="{y + 10}">events per second, small bodies; blue: evbus_like,')
    parts.append("dark grey: the limit, light grey: peers; medians of one run, each panel with its own scale</text>")
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 24}" role="img">'
    return "\n".join(
        [head, "<title>evbus_like beside its peers</title>", f"<style>{STYLE}</style>", *parts, "</svg>\n"]
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
