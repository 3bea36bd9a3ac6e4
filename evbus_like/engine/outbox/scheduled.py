"""Scheduled events: they are in the outbox until they are due, and pending from then on."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evbus_like.engine.event import Event
from evbus_like.engine.outbox import record
from evbus_like.engine.outbox.dead_letters import DAMAGED, PAGE_BYTES, insert_dead_letter
from evbus_like.engine.outbox.row import SIZE
from evbus_like.engine.outbox.row import pack as pack_row
from evbus_like.engine.outbox.schema import schedule_sum
from evbus_like.engine.outbox.store import PackedEvent, Store

log = logging.getLogger("evbus_like.outbox")

Form = tuple[Event, tuple[str, ...]]  # an event as it is sent to some destinations, and their names


@dataclass(frozen=True)
class ScheduledEvent:
    """An event that waits for a time, in seconds since 1970; `size` is the bytes that it counts in the file."""

    id: str
    due: float
    profile: str
    size: int
    forms: Sequence[Form]

    @property
    def destinations(self) -> tuple[str, ...]:
        """The names of the destinations that matched when it was put."""
        return tuple(name for _, names in self.forms for name in names)


COLUMNS = "number, due, id, profile, destinations, sum, record"
INSERT = "INSERT INTO scheduled (due, id, profile, destinations, sum, record) VALUES (?, ?, ?, ?, ?, ?)"
NEXT = "SELECT id, length(record) FROM scheduled WHERE due <= ? ORDER BY due, number LIMIT ?"


def schedule(store: Store, due: float, event: Event, packed: Sequence[PackedEvent]) -> None:
    """Write an event in its forms, to be sent when it is due."""
    for held, names in packed:
        text = json.dumps(names)
        values = (due, event.id, event.profile, text)
        store.connection.execute(INSERT, (*values, schedule_sum(*values), held))
    store.change.scheduled += 1


def first_due(connection: sqlite3.Connection) -> float | None:
    """Give when the next event is due, None if there is none."""
    found: float | None = connection.execute("SELECT min(due) FROM scheduled").fetchone()[0]
    return found


def read_due(store: Store, now: float, limit: int) -> list[ScheduledEvent]:
    """Give events that are due, in the order of their times; those damaged on the disk become dead letters."""
    ids: dict[str, None] = {}
    size = 0
    for id_, length in store.connection.execute(NEXT, (now, limit)).fetchall():
        size += length
        if ids and size > PAGE_BYTES:
            break
        ids[id_] = None
    return [event for id_ in ids if (event := _read(store, id_)) is not None]


def fire(store: Store, due: Sequence[tuple[ScheduledEvent, Sequence[Form]]]) -> list[tuple[int, Event, str]]:
    """Make events pending in the given forms, and give seq, event and destination of each; cancelled ones are left."""
    fired: list[tuple[int, Event, str]] = []
    packed: list[PackedEvent] = []
    for each, forms in due:
        if not store.connection.execute("DELETE FROM scheduled WHERE id = ?", (each.id,)).rowcount:
            continue
        store.change.scheduled -= 1
        store.change.bytes -= each.size
        for event, names in forms:
            fired += [(store.next_seq + len(packed), event, name) for name in names]
            held = record.pack(event)
            store.change.bytes += record.size(held)
            packed.append((held, names))
    store.append(packed)
    return fired


def cancel(store: Store, id_: str) -> bool:
    """Delete an event that is not due yet; False if there is none of this id."""
    length, count = store.connection.execute(
        "SELECT coalesce(sum(length(record)), 0), count(*) FROM scheduled WHERE id = ?", (id_,)
    ).fetchone()
    if not count:
        return False
    store.connection.execute("DELETE FROM scheduled WHERE id = ?", (id_,))
    store.change.scheduled -= 1
    store.change.bytes -= length + record.OVERHEAD * count
    return True


def read_scheduled(connection: sqlite3.Connection, limit: int) -> list[ScheduledEvent]:
    """List the events that are due next."""
    statement = f"SELECT {COLUMNS} FROM scheduled ORDER BY due, number LIMIT ?"
    found: dict[str, ScheduledEvent] = {}
    for row in connection.execute(statement, (limit,)):
        form = _form(row) or (record.remains(row[-1], row[0]), ())
        other = found.get(row[2])
        size = len(row[-1]) + record.OVERHEAD + (other.size if other else 0)
        found[row[2]] = ScheduledEvent(row[2], row[1], row[3], size, (*(other.forms if other else ()), form))
    return list(found.values())


def _read(store: Store, id_: str) -> ScheduledEvent | None:
    """Read an event with all its forms; None if no form is as it was written, and then they are dead letters."""
    rows = store.connection.execute(f"SELECT {COLUMNS} FROM scheduled WHERE id = ? ORDER BY number", (id_,)).fetchall()
    forms = [_form(row) for row in rows]
    sound = [form for form in forms if form is not None]
    if len(sound) == len(rows):
        size = sum(len(row[-1]) + record.OVERHEAD for row in rows)
        return ScheduledEvent(id_, rows[0][1], rows[0][3], size, sound)
    cancel(store, id_)
    for row in rows:
        log.error("the scheduled event %r was damaged on the disk (%s); it is now a dead letter", id_, store.path)
        held = pack_row(record.unpack(row[-1]) if record.is_intact(row[-1]) else record.remains(row[-1], row[0]))
        insert_dead_letter(store, names_of(row[4])[0], held, DAMAGED)
        store.change.bytes += held[SIZE]
    return None


def _form(row: Sequence[Any]) -> Form | None:
    """Give the form that a row holds, None if it is not what was written."""
    _, *values, its_sum, held = row
    if its_sum != schedule_sum(*values) or not record.is_intact(held):
        return None
    return record.unpack(held), names_of(values[-1])


def names_of(text: Any) -> tuple[str, ...]:
    """Give the names of destinations in a row; one stands for those that cannot be read."""
    try:
        names = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        names = None
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    return ("unknown",)
