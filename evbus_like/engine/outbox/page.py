"""Pages: the events that wait for a destination, read in order, a few at a time."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing

from evbus_like.engine.event import Event
from evbus_like.engine.outbox.dead import Why, bury
from evbus_like.engine.outbox.record import BODY, is_intact, unpack
from evbus_like.engine.outbox.schema import EVENT
from evbus_like.engine.outbox.store import Store

log = logging.getLogger("evbus_like.outbox")

Page = list[tuple[int, Event]]
ROTTEN = Why("what the disk gives back is not what was written (wrong checksum)", "damaged", 0, None)
HELD = "events." + EVENT.replace(", ", ", events.")


def page(store: Store, destination: str, after: int, limit_events: int, limit_bytes: int) -> Page:
    """Give the oldest events after a seq; those that rotted on the disk become dead letters."""
    number = store.number_of(destination)
    if number is None:
        return []
    while True:
        found, rotten = read_page(store.connection, number, after, limit_events, limit_bytes)
        for seq in rotten:
            log.error(
                "event %d for %s rotted on the disk under %s: it is a dead letter now", seq, destination, store.path
            )
            bury(store, destination, seq, ROTTEN)
        if found or not rotten:
            return found


def read_page(
    connection: sqlite3.Connection, destination: int, after: int, limit_events: int, limit_bytes: int
) -> tuple[Page, list[int]]:
    """Read the oldest events after a seq, at least one if there are any, and the seqs of those that are damaged."""
    statement = (
        f"SELECT events.seq, {HELD} FROM pending JOIN events ON events.seq = pending.seq"
        " WHERE pending.destination = ? AND pending.seq > ? ORDER BY pending.seq LIMIT ?"
    )
    page: Page = []
    rotten: list[int] = []
    size = 0
    with closing(connection.execute(statement, (destination, after, limit_events))) as rows:
        for seq, *row in rows:
            size += len(row[BODY])
            if size > limit_bytes and page:
                break
            if is_intact(row):
                page.append((seq, unpack(row)))
            else:
                rotten.append(seq)
    return page, rotten
