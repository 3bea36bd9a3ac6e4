"""The tables of `evbus run`: what handlers and services there are, and what they have done."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from evbus_like.cli import console, shown
from evbus_like.engine.account import Account

COLUMNS = ("handler", "events", "delivery", "source", "queue")
COUNTS = (
    "received",
    "handled",
    "filtered",
    "expired",
    "failed",
    "retried",
    "requeued",
    "dead",
    "repeats",
    "limited",
    "lost",
)
OF_SERVICES = ("service", "methods", "source", "queue")
REQUESTS = {"received": "received", "answered": "handled", "requeued": "requeued", "lost": "lost"}

Rows = Sequence[Mapping[str, Any]]


def started(handlers: Rows, services: Rows, where: str) -> None:
    """Print the handlers and services on stderr."""
    if handlers:
        title = f"{shown.many(len(handlers), 'handler')}, {where}"
        console.table(title, COLUMNS, [[row[name] for name in COLUMNS] for row in handlers], to=sys.stderr)
    if services:
        title = f"{shown.many(len(services), 'service')}, {where}"
        cells = [[", ".join(row[name]) if name == "methods" else row[name] for name in OF_SERVICES] for row in services]
        console.table(title, OF_SERVICES, cells, to=sys.stderr)


def stopped(reason: str, handlers: Rows, services: Rows, account: Account) -> None:
    """Print the counts and the account."""
    for name, rows, counts in (("handler", handlers, COUNTS), ("service", services, tuple(REQUESTS))):
        if rows:
            console.table(
                f"stopped: {reason}", (name, *counts), [[row[each] for each in (name, *counts)] for row in rows]
            )
    console.account_table("events put by handlers and services" if services else "events put by handlers", account)
    print(account)
