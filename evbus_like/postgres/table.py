"""The relay's own connection: reading and deleting rows, and the leases of the parts.

Works through PgBouncer in transaction mode: no session state, no prepared statements, no advisory locks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from operator import itemgetter
from typing import Any

import psycopg

from evbus_like.engine.errors import StorageError
from evbus_like.postgres import ddl
from evbus_like.postgres.database import BATCH, Database
from evbus_like.postgres.progress import columns
from evbus_like.postgres.rows import BODY, Dead, Done, Key, Late, Row
from evbus_like.postgres.statements import AFTER, BEFORE, NAMES, STATEMENTS

# Bytes of bodies that are read at once, of all parts and of one; the first row may be larger.
MOST_BYTES, LEAST_BYTES = 16 * 1024 * 1024, 64 * 1024
BODY_OF = itemgetter(BODY)
REASON = 2000  # characters of why an event was given up
IDENTIFY = 5.0  # seconds that a start, or a put, waits to learn which database a profile leads to
SEPARATOR = "\x1f"  # between event ids
MANY = 100  # rows, from which on it is worth trying to delete all from the first to the last
MOST_OTHERS = 10  # times as many rows that may be between them
MOST_SKIPPED = 64  # deletes before that is tried again, after it has found other rows
TABLES = ("outbox", "part", "relay", "schema", "dead", "scheduled")
OLD_RELAYS = 60.0  # seconds after which a relay that has gone is forgotten


class Line:
    """One connection, used by one task at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._conn: psycopg.AsyncConnection[Any] | None = None
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """Connect again."""
        await self.close()
        async with asyncio.timeout(self._database.timeout):
            self._conn = await psycopg.AsyncConnection.connect(
                self._database.connection,
                autocommit=True,
                prepare_threshold=None,  # PgBouncer gives each transaction to another server connection
                application_name="evbus_like relay",
            )
        self._conn.add_notice_handler(lambda _: None)

    async def close(self) -> None:
        """Close the connection."""
        conn, self._conn = self._conn, None
        if conn is not None:
            with suppress(Exception):
                async with asyncio.timeout(1.0):
                    await conn.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Callable[..., Awaitable[list[Any]]]]:
        """Begin a transaction, and yield a function that executes a statement with values and returns its rows."""
        async with asyncio.timeout(self._database.timeout), self._lock:
            conn = self._conn
            if conn is None:
                raise StorageError(f"{self._database.label} is not connected")

            async def execute(sql: str, values: Sequence[Any] = ()) -> list[Any]:
                async with conn.cursor(binary=True) as cursor:
                    await cursor.execute(sql, values)
                    return await cursor.fetchall() if cursor.description else []

            async with conn.transaction():
                yield execute


class Table:
    """The tables of one database: one connection reads, the other deletes meanwhile.

    Every method but `close` raises psycopg's errors, TimeoutError and StorageError.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.parts = self.share = 0  # of the table, and how many one relay should have
        self.quiet = False  # whether no transaction ran after the latest read
        self._reads, self._deletes = Line(database), Line(database)
        self._large = False  # whether large bodies are expected
        self._skip = self._skipped = 0  # deletes that do not try a range: of the next ones, and the last time
        named = {name: database.table(f"evbus_{name}") for name in TABLES}
        self._sql = _statements(named)

    async def open(self, deletes: bool = True) -> None:
        """Connect, and check the tables."""
        await self._reads.open()
        if deletes:
            await self._deletes.open()
        async with self._reads.transaction() as execute:
            rows = await execute(self._sql["identity"])
        self.database.identity, self.parts = identity_of(self.database, rows)

    async def close(self) -> None:
        """Close the connections."""
        await self._reads.close()
        await self._deletes.close()

    async def lease(self, owner: str, give_up: Sequence[int], floors: Mapping[int, int]) -> dict[int, int]:
        """Renew the leases of an owner, take free ones up to its share, and return its parts with their floors.

        `floors` are those that the owner has found, to be kept for the next one.
        """
        seconds, sql = self.database.lease, self._sql
        async with self._reads.transaction() as execute:
            await execute(sql["seen"], [owner, seconds])
            await execute(sql["forget"], [OLD_RELAYS])
            if give_up:
                await execute(sql["give_up"], [owner, list(give_up)])
            if floors:
                await execute(sql["floors"], [_array(floors), _array(floors.values()), owner])
            mine = dict(await execute(sql["renew"], [seconds, owner]))
            share: int = (await execute(sql["share"]))[0][0]
            if len(mine) < share:
                mine |= dict(await execute(sql["take"], [owner, seconds, share - len(mine)]))
        self.share = share
        return mine

    async def release(self, owner: str) -> None:
        """Give all parts up."""
        async with self._reads.transaction() as execute:
            await execute(self._sql["release"], [owner])
            await execute(self._sql["gone"], [owner])

    async def count(self, parts: Iterable[int]) -> tuple[int, float]:
        """Return how many rows wait in some parts, and the age of the oldest in seconds."""
        waiting, oldest = (await self._planned("count", [_array(parts)]))[0]
        return waiting, oldest

    async def count_later(self, parts: Iterable[int]) -> int:
        """Return how many events of some parts are not due yet."""
        count: int = (await self._planned("count_later", [_array(parts)]))[0][0]
        return count

    async def fire(self, parts: Iterable[int]) -> tuple[int, float]:
        """Make events of some parts waiting ones that are due, and return how many.

        The second number is the seconds until the first of the others is due: not above 0 if there may be more now.
        """
        asked = _array(parts)
        async with self._reads.transaction() as execute:
            await execute(self._sql["plan"])
            left = (await execute(self._sql["first_due"], [asked]))[0][0]
            if left is None or left > 0:
                return 0, float("inf") if left is None else left
            most = max(LEAST_BYTES, MOST_BYTES // (asked.count(",") + 1))
            fired: int = (await execute(self._sql["fire"], [asked, BATCH, most]))[0][0]
            return fired, 0.0

    async def read(self, lasts: Mapping[int, int]) -> list[Row]:
        """Read the next rows of each part, behind the last id of each: at most 1,000 of a part, in the order of ids."""
        most = max(LEAST_BYTES, MOST_BYTES // len(lasts))
        small, values = most // BATCH, [_array(lasts), _array(lasts.values()), BATCH]
        async with self._reads.transaction() as execute:
            await execute(self._sql["plan"])
            if not self._large:
                rows = await execute(self._sql["read"], [small, *values])
                self._large = None in map(BODY_OF, rows)
            if self._large:
                rows = await execute(self._sql["read_large"], [*values, most])
                self._large = any(len(row[BODY]) > small for row in rows)
            self.quiet = (await execute(self._sql["quiet"]))[0][0]
        return rows

    async def late(self, floors: Mapping[int, int], lasts: Mapping[int, int], most: int) -> Late:
        """Return the keys of rows between the floor of each part and its last id, the oldest first."""
        least = [floors.get(each, 0) for each in lasts]
        rows = await self._planned("late", [_array(lasts), _array(least), _array(lasts.values()), most])
        oldest, newest = rows[0][:2]
        return Late(int(oldest), int(newest), [row[2:] for row in rows if row[2] is not None])

    async def fetch(self, keys: Sequence[Key]) -> list[Row]:
        """Read the rows of these keys, in their order; some may be gone."""
        parts, ids, _ = zip(*keys, strict=True)
        return await self._planned("fetch", [_array(parts), _array(ids)])

    async def delete(self, delivered: Done, dead: Sequence[Dead], others: int = 0) -> None:
        """Delete rows and count them; `others` says how many more rows of these parts the relay knows of."""
        if await self._delete_between(delivered, others):
            delivered = {}
            if not dead:
                return
        sql = self._sql
        async with self._deletes.transaction() as execute:
            await execute(sql["plan"])
            if delivered:
                await execute(sql["delivered"], _values(delivered))
            kept = [each for each in dead if each.keep]
            if kept:
                texts = [_text(each.reason) for each in kept]
                keys = _values(columns([each.key for each in kept]))
                await execute(sql["keep"], [*keys, [each.destination for each in kept], texts])
            if dead:
                await execute(sql["dead"], _values(columns(dict.fromkeys(each.key for each in dead))))

    async def _delete_between(self, delivered: Done, others: int) -> bool:
        """Delete all rows from the first to the last of each part, if these are all there are; returns whether.

        Others may be among them: some that were committed late, or that are not settled yet. Then nothing is deleted.
        """
        count = sum([len(ids) for ids, _ in delivered.values()])
        if count < MANY or others > MOST_OTHERS * count:
            return False
        if self._skip:
            self._skip -= 1
            return False
        wanted = {part: _described(ids, names) for part, (ids, names) in delivered.items()}
        parts = _array(delivered)
        firsts, lasts = [_array(end(ids) for ids, _ in delivered.values()) for end in (min, max)]
        async with self._deletes.transaction() as execute:
            await execute(self._sql["plan"])
            if {row[0]: row[1:] for row in await execute(self._sql["between"], [parts, firsts, lasts])} != wanted:
                self._skip = self._skipped = min(MOST_SKIPPED, 2 * self._skipped + 1)
                raise psycopg.Rollback
            await execute(self._sql["counted"], [parts, _array(len(ids) for ids, _ in delivered.values())])
            self._skipped = 0
            return True
        return False

    async def _planned(self, name: str, values: Sequence[Any]) -> list[Any]:
        """Execute a statement by the index, whatever the statistics of the table say."""
        async with self._reads.transaction() as execute:
            await execute(self._sql["plan"])
            return await execute(self._sql[name], values)


class Cancels:
    """Deletes events that are not due yet, on a connection that is made when it is first needed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._line = Line(database)
        self._sql = STATEMENTS["cancel"].format(scheduled=database.table("evbus_scheduled"))

    async def cancel(self, event_id: str) -> bool:
        """Delete an event by its id, and return whether there was one; raises StorageError."""
        try:
            try:
                return await self._delete(event_id)
            except (psycopg.OperationalError, StorageError):  # the connection is lost, or not made yet
                await self._line.open()
                return await self._delete(event_id)
        except (psycopg.Error, OSError, TimeoutError) as error:
            raise StorageError(
                f"{self._database.label}: {said(error)}; so it is not known whether the event {event_id[:100]!r} is"
                " cancelled: cancel it again"
            ) from None

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()

    async def _delete(self, event_id: str) -> bool:
        async with self._line.transaction() as execute:
            return bool(await execute(self._sql, [event_id]))


async def identify(database: Database) -> None:
    """Read which database a profile leads to, on a connection of its own; raises StorageError."""
    table = Table(database)
    try:
        async with asyncio.timeout(min(IDENTIFY, database.timeout)):
            await table.open(deletes=False)
    except (psycopg.Error, OSError, TimeoutError) as error:
        raise StorageError(
            f"{database.label} does not answer, so whether the connection leads to the same database cannot be told:"
            f" {said(error)}"
        ) from None
    finally:
        await table.close()


def identity_of(database: Database, rows: Sequence[Any]) -> tuple[tuple[str, str], int]:
    """Return the identity of a database and the number of its parts; raises StorageError for another version."""
    if not rows:
        raise StorageError(f"{database.label}: the table evbus_schema is empty; `evbus db schema` prints what fills it")
    name, version, parts, made = rows[0]
    if version != ddl.LATEST:
        raise StorageError(f"{database.label}: {ddl.other_version(version)}")
    return (name, made), parts


def said(error: BaseException) -> str:
    """Return an error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _statements(tables: Mapping[str, str]) -> dict[str, str]:
    return {name: text.format(**tables, before=BEFORE, after=AFTER, names=NAMES) for name, text in STATEMENTS.items()}


def _array(numbers: Iterable[int]) -> str:
    return f"{{{','.join(map(str, numbers))}}}"  # ten times as fast as psycopg's list


def _values(done: Done) -> list[Any]:
    """Return the values for arrays of parts, ids and event ids."""
    parts = [part for part, (ids, _) in done.items() for _ in ids]
    ids = [id_ for ids, _ in done.values() for id_ in ids]
    names = [name for _, names in done.values() for name in names]
    joined = SEPARATOR.join(names)
    if joined.count(SEPARATOR) != len(names) - 1 or not joined:  # somebody else's ids may hold anything
        return [_array(parts), _array(ids), names, None]
    return [_array(parts), _array(ids), None, joined]


def _described(ids: list[int], names: list[str]) -> tuple[int, str, str]:
    """Return what tells the rows of a part from others: how many, the sum of the ids, and the event ids in order."""
    if ids != sorted(ids):
        names = [name for _, name in sorted(zip(ids, names, strict=True))]
    joined = SEPARATOR.join(names)
    count = len(ids) if joined.count(SEPARATOR) == len(ids) - 1 else -1  # somebody else's ids may hold anything
    return count, str(sum(ids)), joined


def _text(reason: str) -> str:
    return reason[:REASON].replace("\0", "").encode(errors="replace").decode()
