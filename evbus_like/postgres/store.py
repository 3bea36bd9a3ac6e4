"""Storing: an event becomes a row in the caller's transaction, and nothing else happens.

The first put on a connection looks whether it leads to the database of a profile, whether the tables are there and of
this version, and whether rows may be inserted: two statements that cannot fail, so that the caller's transaction stays
as it is. Each put is one INSERT from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import time
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from evbus_like.engine.errors import BadEvent, EventTooLarge, PutTimeout, StorageError
from evbus_like.engine.event import Event
from evbus_like.engine.sending.serializer import Serializer
from evbus_like.postgres import ddl, rows
from evbus_like.postgres.connections import FAILED, Adapter, Rows, adapted
from evbus_like.postgres.database import Database

LOOK = """
SELECT current_database(), current_setting('transaction_read_only') = 'on', n.oid IS NOT NULL,
       has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(o.oid, 'INSERT'), has_table_privilege(s.oid, 'SELECT'),
       has_table_privilege(l.oid, 'INSERT'),
       has_table_privilege(l.oid, 'SELECT') AND has_table_privilege(l.oid, 'DELETE')
FROM (SELECT) one
LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = %s
LEFT JOIN pg_catalog.pg_class o ON o.relnamespace = n.oid AND o.relname = 'evbus_outbox'
LEFT JOIN pg_catalog.pg_class s ON s.relnamespace = n.oid AND s.relname = 'evbus_schema'
LEFT JOIN pg_catalog.pg_class l ON l.relnamespace = n.oid AND l.relname = 'evbus_scheduled'
"""
MADE_BY = "`evbus db schema` prints the SQL that makes the tables"


class Cancels(Protocol):
    """Deletes events of one database that are not due yet."""

    async def cancel(self, event_id: str) -> bool: ...


Step = tuple[str, Sequence[Any]]  # a statement and its values


class Place:
    """Where the events of one connection go; `lacking` are the rights that it has not, on events to be sent later."""

    def __init__(self, database: Database, parts: int, lacking: Sequence[str] = ()) -> None:
        self.database = database
        self.parts = parts
        self._lacking = lacking
        # As text first: an application may have told its driver to encode what it gives for json.
        marks = ", ".join(["%s::text::json" if name == "headers" else "%s" for name in rows.COLUMNS])
        columns = ", ".join(rows.COLUMNS)
        later = self._later = database.table("evbus_scheduled")
        self._insert = f"INSERT INTO {database.table('evbus_outbox')} ({columns}) VALUES ({marks})"
        # By the database's clock, the only one by which it is looked whether an event is due.
        due = "clock_timestamp() + make_interval(secs => %s)"
        self._insert_later = f"INSERT INTO {later} ({columns}, due) VALUES ({marks}, {due})"
        self._delete = f"DELETE FROM {later} WHERE event_id = %s RETURNING 1"

    def storing(self, event: Event, due: float | None) -> Step:
        """Return the statement that stores an event, until it is due; raises EventTooLarge, BadEvent, StorageError."""
        if len(event.body) > self.database.max_event_bytes:
            raise EventTooLarge(
                f"the body is {len(event.body)} bytes, and {self.database.label} stores at most"
                f" {self.database.max_event_bytes}: send less, or a reference to it, or raise its max_event_bytes"
            )
        values = rows.values(event, self.parts)
        if due is None:
            return self._insert, values
        self._need("INSERT")
        return self._insert_later, (*values, max(0.0, due - time()))

    def cancelling(self, event_id: str) -> Step:
        """Return the statement that deletes an event which is not due yet; raises StorageError."""
        self._need("SELECT, DELETE")
        return self._delete, (event_id,)

    def _need(self, rights: str) -> None:
        if rights in self._lacking:
            raise StorageError(f"the connection's user has no rights: GRANT {rights} ON {self._later}")


class Store:
    """Stores events in the transactions of the application, for the databases of the profiles.

    `identify` reads which database a profile has, if that was not known at the start; `soon` tells the relay that an
    event was stored, whether its transaction was committed, and whether it is to be sent later.
    """

    def __init__(
        self,
        databases: Sequence[Database],
        identify: Callable[[Database], Coroutine[Any, Any, None]],
        soon: Callable[[Database, bool, bool], None],
        cancels: Sequence[Cancels],
        serializer: Serializer,
    ) -> None:
        self.serializer = serializer
        self._cancels = cancels
        self._databases = databases
        self._identify = identify
        self._soon = soon
        self._places: WeakKeyDictionary[Any, Place] = WeakKeyDictionary()

    async def store(self, event: Event, within: Any, timeout: float, due: float | None = None) -> None:
        """Store a serialized event; raises BadEvent, EventTooLarge, StorageError, PutTimeout, and the driver's errors.

        `timeout` bounds the statements of an asynchronous connection. `due` is when the event is to be sent, in seconds
        since 1970.
        """
        conn, adapter = self._usable(within)
        place, _ = await self._run(conn, adapter, lambda place: place.storing(event, due), timeout)
        self._stored(conn, adapter, place, due is not None)

    async def cancel(self, event_id: str, within: Any, timeout: float) -> bool:
        """Delete an event that is not due yet, with the caller's transaction; raises what `store` raises."""
        conn, adapter = self._usable(within)
        _, found = await self._run(conn, adapter, lambda place: place.cancelling(event_id), timeout)
        return bool(found)

    async def cancel_now(self, event_id: str) -> bool:
        """Delete an event that is not due yet from the first database that has it; raises StorageError."""
        for each in self._cancels:
            if await each.cancel(event_id):
                return True
        return False

    async def _run(
        self, conn: Any, adapter: Adapter, step: Callable[[Place], Step], timeout: float
    ) -> tuple[Place, Rows]:
        try:
            async with asyncio.timeout(timeout) if adapter.waits else _Forever():
                place = self._places.get(adapter.anchor(conn))
                if place is None:
                    place = await self._find_waiting(conn, adapter)
                made = adapter.run(conn, *step(place))
                return place, await made if adapter.waits else made
        except TimeoutError as error:
            raise PutTimeout(
                f"the database did not answer for {timeout:g} s, so whether the event is stored with your transaction"
                " is not known: roll back"
            ) from error
        except Exception as error:
            raise explained(error) from error

    def store_now(self, event: Event, within: Any) -> None:
        """Store a serialized event through a blocking connection; raises what `store` raises."""
        conn, adapter = self._usable(within)
        if adapter.waits:
            raise BadEvent(f"{_named(within)} is asynchronous: `await put(..., within=...)`, not put_nowait")
        try:
            place = self._places.get(adapter.anchor(conn)) or self._find(conn, adapter)
            adapter.run(conn, *place.storing(event, None))
        except Exception as error:
            raise explained(error) from error
        self._stored(conn, adapter, place, False)

    def _usable(self, within: Any) -> tuple[Any, Adapter]:
        conn, adapter = adapted(within)
        if problem := adapter.problem(conn):
            raise BadEvent(f"{_named(within)} {problem}")
        return conn, adapter

    def _stored(self, conn: Any, adapter: Adapter, place: Place, later: bool) -> None:
        database = place.database
        calls_back = adapter.after_commit(conn, lambda: self._soon(database, True, later))
        if not calls_back:
            self._soon(database, False, later)

    # ---- the first put on a connection

    def _find(self, conn: Any, adapter: Adapter) -> Place:
        look = Look(self._databases)
        steps = look.steps()
        with suppress(StopIteration):
            step = next(steps)
            while True:
                step = steps.send(adapter.run(conn, *step))
        for database in look.unidentified():
            with ThreadPoolExecutor(1) as thread:  # an event loop may run in this one
                thread.submit(asyncio.run, self._identify(database)).result()
        return self._remember(conn, adapter, look.place())

    async def _find_waiting(self, conn: Any, adapter: Adapter) -> Place:
        look = Look(self._databases)
        steps = look.steps()
        with suppress(StopIteration):
            step = next(steps)
            while True:
                made = adapter.run(conn, *step)
                step = steps.send(await made if adapter.waits else made)
        for database in look.unidentified():
            await self._identify(database)
        return self._remember(conn, adapter, look.place())

    def _remember(self, conn: Any, adapter: Adapter, place: Place) -> Place:
        self._places[adapter.anchor(conn)] = place
        return place


class Look:
    """What one connection sees of the tables of each profile."""

    def __init__(self, databases: Sequence[Database]) -> None:
        self._databases = databases
        # By profile, the identity, the number of parts, and the rights that are lacking for events to be sent later.
        self._seen: dict[str, tuple[tuple[str, str], int, list[str]]] = {}
        self._wrong: list[str] = []

    def steps(self) -> Generator[Step, Rows, None]:
        """Yield statements; send their rows."""
        for database in self._databases:
            found = yield LOOK, [database.schema]
            *facts, may_schedule, may_cancel = found[0]
            if problem := _missing(database, facts):
                self._wrong.append(f"{database.label}: {problem}")
                continue
            read = yield f"SELECT version, parts, id::text FROM {database.table('evbus_schema')}", []
            version, parts, made = read[0] if read else (0, 0, "")
            if version != ddl.LATEST:
                self._wrong.append(f"{database.label}: {ddl.other_version(version)}")
            else:
                rights = {"INSERT": may_schedule, "SELECT, DELETE": may_cancel}
                self._seen[database.name] = ((facts[0], made), parts, [each for each, has in rights.items() if not has])

    def unidentified(self) -> list[Database]:
        """Return the databases of which must be read which they are."""
        return [each for each in self._databases if each.name in self._seen and each.identity is None]

    def place(self) -> Place:
        """Return where events go; raises StorageError if that is nowhere, or not clear."""
        matching = []
        for database in self._databases:
            identity, parts, lacking = self._seen.get(database.name, (None, 0, []))
            if identity is not None and identity == database.identity:
                matching.append(Place(database, parts, lacking))
            elif identity is not None and database.identity is not None:
                other = "" if identity[0] != database.identity[0] else " of another server"
                self._wrong.append(
                    f"{database.label} is another database: it is {database.identity[0]!r}, and the connection leads"
                    f" to {identity[0]!r}{other}"
                )
        if len(matching) > 1:
            names = " and ".join(each.database.label for each in matching)
            raise StorageError(f"{names} are the same database: a program has one profile for each database")
        if not matching:
            raise StorageError(f"the event is not stored: {'; '.join(self._wrong)}")
        return matching[0]


class _Forever:
    """No deadline: a blocking call cannot be interrupted."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


def _missing(database: Database, found: Sequence[Any]) -> str:
    name, read_only, schema, usage, insert, select = found
    if not schema:
        return f"database {name!r} has no schema {database.schema!r}; {MADE_BY}"
    if not usage:
        return f"the connection's user may not use the schema {database.schema!r}: GRANT USAGE ON SCHEMA"
    if insert is None or select is None:
        return f"the tables are not in the schema {database.schema!r} of database {name!r}; {MADE_BY}"
    if not insert or not select:
        return (
            "the connection's user has no rights: GRANT INSERT ON"
            f" {database.table('evbus_outbox')}, GRANT SELECT ON {database.table('evbus_schema')}"
        )
    return "the transaction is read-only" if read_only else ""


def _named(within: Any) -> str:
    kind = type(within)
    return f"the connection given as within ({kind.__module__}.{kind.__qualname__})"


STATES = {
    "25P02": f"the connection given as within {FAILED}",
    "25006": "the database, or the transaction, is read-only",
    "42501": "the connection's user has no rights on the table any more",
    "42P01": f"the table is not there any more; {MADE_BY}",
    "42703": "the table is of another version; `evbus db check` says more",
    "53100": "the disk of the database is full",
}


def explained(error: Exception) -> Exception:
    """Return the error of a driver, as one of ours where its SQLSTATE has a known cause; any other is left as it is."""
    state = getattr(error, "sqlstate", None) or getattr(getattr(error, "orig", None), "sqlstate", None)
    text = STATES.get(str(state))
    if text is None:
        return error
    kind = BadEvent if state == "25P02" else StorageError
    return kind(f"the event is not stored: {text}")
