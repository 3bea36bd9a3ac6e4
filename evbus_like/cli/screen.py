"""One screen of `evbus top`: lines of text, of what was seen now and before."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import set_cell_size

from evbus_like.cli import shown
from evbus_like.monitor import merge
from evbus_like.monitor.document import Status

NAME = 18  # cells that a name has at least
REASONS = 4  # things that are not ready
LINES = 3  # for each of them
SORTS = {"n": "name", "r": "rate", "w": "waiting", "o": "oldest", "d": "dead"}
KEYS = "q quit  sort: n name  r rate  w waiting  o oldest  d dead"
BOLD, RED, PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[0m"


@dataclass(frozen=True)
class Seen:
    """A status document, and when it came, in seconds of a clock that only goes forward."""

    at: float
    status: Status


@dataclass(frozen=True)
class Column:
    """A column; the ones with the largest `rank` are left out first where the screen is narrow."""

    title: str
    width: int
    rank: int
    cell: Callable[[Any], str]


def number(count: float) -> str:
    """Return a count in at most five cells: 99999, 123k, 1.2M."""
    if count < 10:
        return f"{count:.3g}" if count == int(count) else f"{count:.1f}"
    if count < 99_999.5:
        return f"{count:.0f}"
    for unit, size in (("k", 1e3), ("M", 1e6), ("G", 1e9)):
        if count < 999.5 * size:
            return f"{count / size:.3g}{unit}"
    return f"{count:.0e}"


def _age(seconds: float) -> str:
    return shown.age(time.time() - seconds) if seconds else "-"


def _mean(row: Any) -> str:
    running = row["running"]
    return f"{1000 * running['sum'] / running['count']:.4g}" if running["count"] else "-"


DESTINATIONS = (
    Column("state", 10, 1, lambda row: row["state"]),
    Column("/s", 7, 2, lambda row: number(row["rate"])),
    Column("waiting", 8, 3, lambda row: number(row["waiting"])),
    Column("oldest", 7, 4, lambda row: _age(row["oldest_age"])),
    Column("dead", 6, 5, lambda row: number(row["dead"])),
    Column("dropped", 8, 6, lambda row: number(sum(row["dropped"].values()))),
    Column("retried", 8, 7, lambda row: number(row["retried"])),
    Column("sending", 8, 8, lambda row: number(row["in_flight"])),
    Column("delivered", 10, 9, lambda row: number(row["delivered"])),
)
STORES = (
    Column("state", 10, 1, lambda row: row["state"]),
    Column("/s", 7, 2, lambda row: number(row["rate"])),
    Column("waiting", 8, 3, lambda row: number(row["waiting"])),
    Column("oldest", 7, 4, lambda row: _age(row["oldest_age"])),
    Column("dead", 6, 5, lambda row: number(row["dead"])),
    Column("parts", 8, 6, lambda row: number(row["parts"])),
    Column("sending", 8, 7, lambda row: number(row["in_lanes"])),
    Column("delivered", 10, 8, lambda row: number(row["delivered"])),
)
HANDLERS = (
    Column("state", 10, 1, lambda row: row["state"]),
    Column("/s", 7, 2, lambda row: number(row["rate"])),
    Column("lag", 6, 3, lambda row: "-" if row["lag"] is None else number(row["lag"])),
    Column("ms", 7, 4, _mean),
    Column("dead", 6, 5, lambda row: number(row["dead"])),
    Column("running", 8, 6, lambda row: number(row["busy"])),
    Column("failed", 8, 7, lambda row: number(row["failed"])),
    Column("retried", 8, 8, lambda row: number(row["retried"] + row["requeued"])),
    Column("handled", 10, 9, lambda row: number(row["handled"])),
)


def screen(now: Seen, before: Seen | None, sort: str, width: int, height: int, colour: bool) -> list[str]:
    """Return at most `height` lines of `width` cells; rates are those since `before`."""
    status = now.status
    count = len(status["processes"])
    ready = "ready" if status["ready"] else "not ready"
    lines = [
        _line(
            f"evbus top: {count} process{'es' * (count != 1)}, {ready}, {time.strftime('%H:%M:%S')}",
            width,
            BOLD if colour else "",
        )
    ]
    reasons = status["reasons"]
    for reason in reasons[:REASONS]:
        wrapped = textwrap.wrap(f"- {shown.visible(reason)}", width, subsequent_indent="  ", max_lines=LINES)
        lines += [_line(line, width, RED if colour else "") for line in wrapped]
    if len(reasons) > REASONS:
        lines.append(_line(f"- and {len(reasons) - REASONS} more: evbus status", width, RED if colour else ""))
    rows = _with_rates(merge.destinations, "delivered", now, before)
    lines += _table("destination", DESTINATIONS, rows, sort, width, colour)
    if stores := _with_rates(merge.stores, "delivered", now, before):
        lines += ["", *_table("outbox table", STORES, stores, sort, width, colour)]
    if handlers := _with_rates(merge.handlers, "handled", now, before):
        lines += ["", *_table("handler", HANDLERS, handlers, sort, width, colour)]
    body = lines[: max(1, height - 1)]
    if len(lines) > len(body):
        body[-1] = _line(f"... {len(lines) - len(body) + 1} more lines: a larger window, or evbus status", width)
    return [*body, _line(KEYS, width)][:height]


def _with_rates(rows: Callable[[Status], merge.Rows], counted: str, now: Seen, before: Seen | None) -> merge.Rows:
    """Return the rows with `rate`, events a second; a process that has started again counts from 0."""
    found = rows(now.status)
    earlier = rows(before.status) if before is not None else {}
    for name, row in found.items():
        gone = now.at - before.at if before is not None and name in earlier else 0.0
        more = row[counted] - earlier[name][counted] if gone > 0 else 0
        row["rate"] = (more if more >= 0 else row[counted]) / gone if gone > 0 else 0.0
    return found


def _sorted(rows: merge.Rows, sort: str) -> Iterable[tuple[str, Any]]:
    """Return the rows by name, or with the largest first."""
    by = {"oldest": "oldest_age"}.get(sort, sort)
    if sort == "name":
        return sorted(rows.items())
    return sorted(rows.items(), key=lambda item: (-(item[1].get(by, item[1].get("lag")) or 0), item[0]))


def _table(
    title: str, columns: Sequence[Column], rows: merge.Rows, sort: str, width: int, colour: bool
) -> Iterable[str]:
    shown_columns = _fitting(columns, width)
    name = width - sum(column.width for column in shown_columns)
    head = set_cell_size(title, name) + "".join(column.title.rjust(column.width) for column in shown_columns)
    yield _line(head, width, BOLD if colour else "")
    for key, row in _sorted(rows, sort):
        cells = "".join(_right(column.cell(row), column.width) for column in shown_columns)
        wrong = colour and row["state"] != "open"
        yield _line(set_cell_size(shown.visible(key), name) + cells, width, RED if wrong else "")


def _fitting(columns: Sequence[Column], width: int) -> list[Column]:
    found = sorted(columns, key=lambda column: column.rank)
    while len(found) > 1 and sum(column.width for column in found) + NAME > width:
        found.pop()
    return [column for column in columns if column in found]


def _right(text: str, width: int) -> str:
    return text[: width - 1].rjust(width)


def _line(text: str, width: int, style: str = "") -> str:
    cut = set_cell_size(text, width).rstrip()
    return f"{style}{cut}{PLAIN}" if style else cut
