"""The generated parts of the pages; `python -m tests.docs.generated` writes them again.

Such a part is enclosed by two comments, `<!-- begin: NAME -->` and `<!-- end: NAME -->`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.docs import roads
from tests.docs.blocks import ROOT

RESULTS = ROOT / "benchmarks/results/latest.json"
# The rows of the table of the README: the group of the benchmark, our leg, the peer's leg, and what they do.
NUMBERS = (
    ("RabbitMQ", "one profile", "aio-pika, 1000 in flight", "events sent to RabbitMQ, each confirmed", "aio-pika"),
    ("receiving from RabbitMQ", "a handler", "aio-pika's loop", "events handled from RabbitMQ", "aio-pika"),
    ("Kafka", "one profile", "aiokafka send", "events sent to Kafka, `acks=all`", "aiokafka"),
)


def numbers() -> str:
    """Give the three numbers of the README, from the results of the last full benchmark."""
    groups = {group["name"]: {leg["name"]: leg.get("rate", 0.0) for leg in group["legs"]} for group in latest()}
    rows = ["| per second, on two cores shared with the broker | evbus_like | |", "|---|---|---|"]
    for group, ours, peer, what, name in NUMBERS:
        rates = groups[group]
        rows.append(f"| {what} | {round(rates[ours], -3):,.0f} | {name}: {round(rates[peer], -2):,.0f} |")
    return "\n".join([*rows, ""])


def latest() -> list[dict[str, Any]]:
    """Give the groups of the last full benchmark."""
    found: list[dict[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8"))["groups"]
    return found


PARTS: dict[str, tuple[Path, Callable[[], str]]] = {
    "numbers": (ROOT / "README.md", numbers),
    "roads": (ROOT / "CONTRIBUTING.md", lambda: roads.markdown(roads.in_a_process())),
}


def with_part(text: str, name: str, part: str) -> str:
    """Give the text of the page with a new part; raises ValueError if the page has no place for it."""
    place = re.compile(rf"(<!-- begin: {name} -->\n).*?(<!-- end: {name} -->)", re.DOTALL)
    if not place.search(text):
        raise ValueError(f"no place for the part {name}: the page needs its two comments")
    return place.sub(lambda match: f"{match[1]}\n{part}\n{match[2]}", text)


def main() -> None:
    """Generate all parts again."""
    for name, (page, make) in PARTS.items():
        page.write_text(with_part(page.read_text(encoding="utf-8"), name, make()), encoding="utf-8")


if __name__ == "__main__":
    main()
