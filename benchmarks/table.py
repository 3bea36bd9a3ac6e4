"""The results as text: a table of the rows and one of the legs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

VERDICTS = {True: "reached", False: "NOT reached", None: ""}


def rows(results: Iterable[dict[str, Any]]) -> str:
    """Give the table of the rows: target, measured, reached or not."""
    lines = [("", "target", "measured", "by CPU", "")]
    for group in results:
        lines.append((group["name"].upper(), "", "", "", ""))
        for row in group["rows"]:
            by_cpu = "" if row["by_cpu"] is None else _short(row["by_cpu"])
            disposition = VERDICTS[row["reached"]]
            lines.append((f"  {row['title']}", row["target"], _short(row["measured"]), by_cpu, disposition))
    return _columns(lines)


def legs(results: Iterable[dict[str, Any]]) -> str:
    """Give the table of the legs: medians over the rounds."""
    lines = [("", "per second", "from .. to", "CPU us/event", "peak MB")]
    for group in results:
        lines.append((group["name"].upper(), "", "", "", ""))
        for leg in group["legs"]:
            peak = f"{leg['peak'] / 1e6:.0f}"
            if not leg["events"]:
                lines.append((f"  {leg['name']}", f"{leg['seconds'] * 1000:.0f} ms", "", "", peak))
                continue
            spread = f"{leg['slowest']:,.0f} .. {leg['fastest']:,.0f}"
            lines.append((f"  {leg['name']}", f"{leg['rate']:,.0f}", spread, f"{leg['cpu_per_event'] * 1e6:.1f}", peak))
    return _columns(lines)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def _columns(lines: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    shown = []
    for first, *rest in lines:
        cells = [first.ljust(widths[0]), *(text.rjust(width) for text, width in zip(rest, widths[1:], strict=True))]
        shown.append("  ".join(cells).rstrip())
    return "\n".join(shown)
