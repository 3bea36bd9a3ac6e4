"""Output of the command: results on stdout, progress and log on stderr."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from evbus_like.cli import output, shown
from evbus_like.cli.errors import UsageError
from evbus_like.engine.account import Account
from evbus_like.processes import worker

stderr = Console(stderr=True, highlight=False)
CLIENTS = ("aio_pika", "aiormq", "aiokafka")
LEVELS = {"trace": 5, "debug": 10, "info": 20, "warning": 30, "warn": 30, "error": 40, "critical": 50, "quiet": 100}
LINE_EACH = 5.0  # seconds between two lines of progress without a terminal


def set_up_logging(hub: Any) -> None:
    """Log to stderr, or as pop-config does where the user chose a log plugin or a file."""
    settings = hub.OPT.pop_config
    if settings.log_plugin != "basic" or settings.log_file != "evbus.log":
        hub.log[settings.log_plugin].setup(settings)
        return
    handler: logging.Handler
    who = f"worker {worker.THIS.number}: " if worker.THIS is not None else ""
    if stderr.is_terminal:
        handler = RichHandler(console=stderr, show_time=False, show_path=False, markup=False)
        handler.setFormatter(logging.Formatter(f"{who}%(message)s"))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(f"%(levelname)s: {who}%(message)s"))
    handler.addFilter(worth_showing)
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(_level(str(settings.log_level).strip().lower()))


def _level(text: str) -> int:
    """Return the number of a log level; raises UsageError."""
    if text.isascii() and text.isdecimal() and len(text) < 9:
        return int(text)
    if text not in LEVELS:
        raise UsageError(f"the log level must be one of {', '.join(LEVELS)}, not {text!r} (--log-level, POP_LOG_LEVEL)")
    return LEVELS[text]


def worth_showing(record: logging.LogRecord) -> bool:
    """Hide the logs of client libraries, which the bus sums up in a line; --log-level info shows them."""
    if logging.getLogger().level <= logging.INFO:
        return True
    # acct warns about every credentials file that is not encrypted
    return record.name.split(".")[0] not in CLIENTS and not record.getMessage().startswith("No acct_key provided")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], to: TextIO | None = None) -> None:
    """Print a table on stdout, or elsewhere; columns of numbers are aligned to the right."""
    made = Table(title=shown.visible(title), title_justify="left")
    listed = [[shown.visible(str(cell), "\n") for cell in row] for row in rows]
    for index, name in enumerate(columns):
        numeric = bool(listed) and all(row[index].replace(",", "").isdigit() for row in listed)
        made.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in listed:
        made.add_row(*row)
    stream = to or output.results()
    Console(file=stream, width=None if stream.isatty() else 160, highlight=False).print(made, markup=False)


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
