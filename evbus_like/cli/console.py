"""Output of the command: results on stdout, progress on stderr."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from evbus_like.cli import output, shown
from evbus_like.engine.account import Account

stderr = Console(stderr=True, highlight=False)
LINE_EACH = 5.0  # seconds between two lines of progress without a terminal
WIDTH = 160  # cells of a table without a terminal
BROKEN = 16  # cells below which no column of text is broken into lines


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], to: TextIO | None = None) -> None:
    """Print a table on stdout, or elsewhere; columns of numbers are aligned to the right.

    On a terminal that is too narrow for it, each row is a paragraph.
    """
    listed = [[shown.visible(str(cell), "\n") for cell in row] for row in rows]
    stream = to or output.results()
    console = Console(file=stream, width=None if stream.isatty() else WIDTH, highlight=False)
    if listed and _needed(columns, listed) > console.width:
        print("\n".join(_paragraphs(title, columns, listed, console.width)), file=stream)
        return
    made = Table(title=shown.visible(title), title_justify="left")
    for index, name in enumerate(columns):
        numeric = bool(listed) and all(row[index].replace(",", "").isdigit() for row in listed)
        made.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in listed:
        made.add_row(*row)
    console.print(made, markup=False)


def _needed(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return the cells that a table needs, in which long texts may be broken but are not torn to pieces."""
    widest = (max(map(cell_len, "\n".join(each).split("\n"))) for each in zip(columns, *rows, strict=True))
    return sum(min(each, BROKEN) + 3 for each in widest) + 1


def _paragraphs(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    yield shown.visible(title)
    for row in rows:
        text = ", ".join(f"{name}: {' '.join(cell.split())}" for name, cell in zip(columns, row, strict=True))
        yield from textwrap.wrap(text, max(20, width), initial_indent="- ", subsequent_indent="  ")


def document(data: Any) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(data, indent=2, default=str), file=output.results())


class Lines(Protocol):
    """What lines are written to: a text file, or the supervisor of this process."""

    def write(self, text: str, /) -> object:
        """Write a line."""

    def flush(self) -> object:
        """Write what was kept back."""


def line(data: Any, to: Lines | None = None) -> None:
    """Print a JSON document in one line on stdout, or elsewhere, and flush it."""
    to = to or output.results()
    to.write(json.dumps(data, default=str) + "\n")
    to.flush()


def account_table(title: str, account: Account) -> None:
    """Print what happened to the events, one row for each destination."""
    names = {"accepted": "in", "delivered": "out", "dead_lettered": "dead-lettered", "dropped": "dropped"}
    if account.expired:
        names["expired"] = "expired"
    if account.spilled:
        names["spilled"] = "left in the outbox"
    names |= {"remaining": "remaining", "error": "last trouble"}
    rows = [[lane.destination, *(getattr(lane, name) for name in names)] for lane in account.lanes]
    table(title, ("destination", *names.values()), rows)


class Progress:
    """Shows one changing line on a terminal, elsewhere a line every few seconds; a context manager."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._status: Any = None
        self._started = time.monotonic()
        self._shown = self._started

    def __enter__(self) -> Progress:
        if stderr.is_terminal:
            self._status = stderr.status(f"{self._what} ...")
            self._status.start()
        return self

    def show(self, text: str) -> None:
        """Show the progress."""
        now = time.monotonic()
        if self._status is not None:
            self._status.update(f"{self._what}: {text}, {now - self._started:.0f} s")
        elif now - self._shown >= LINE_EACH:
            self._shown = now
            print(f"{self._what}: {text}, {now - self._started:.0f} s", file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()
