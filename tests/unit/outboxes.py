"""What the tests of the outbox share: events, an outbox that is open, and a disk that fails on command."""

import asyncio
import sqlite3
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from evbus_like.engine.event import Event
from evbus_like.engine.outbox import Outbox
from evbus_like.engine.outbox.connection import connect
from tests.unit.fakes import HANG

ROOT = Path(__file__).parents[2]


def make(body: bytes | int = b"{}", **changes: Any) -> Event:
    """A serialized event; a number stands for a body that says it."""
    body = b"%d" % body if isinstance(body, int) else body
    event = Event(changes.pop("routing_key", "orders.created"), body, changes.pop("profile", "default"))
    event.content_type = "application/json"
    event.timestamp = 1234.5
    for name, value in changes.items():
        setattr(event, name, value)
    return event


async def append_one(outbox: Outbox, event: Event, destinations: Sequence[str]) -> int:
    """Append one event and give its seq."""
    [seq] = await outbox.append([(event, destinations)])
    return seq


def pending_events(path: Path, destination: str) -> list[Event]:
    """The events that wait for a destination in a file that no bus has open."""

    async def read() -> list[Event]:
        outbox = Outbox(path)
        outbox.open()
        try:
            return [event for _, event in await outbox.page(destination, 0, 100_000, 1024**3)]
        finally:
            await outbox.close()

    with ThreadPoolExecutor(1) as pool:  # callers may be in an event loop
        return pool.submit(asyncio.run, read()).result(HANG)


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.one_of(
    text,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=True),
    st.booleans(),
    st.binary(max_size=20),
    st.none(),
)
events = st.builds(
    make,
    st.binary(max_size=100),
    routing_key=text,
    profile=text,
    content_type=text,
    headers=st.none() | st.dictionaries(text, scalars, max_size=5),
    key=st.none() | text | st.binary(max_size=10),
    timestamp=st.floats(0, 4e9),
)


def content(event: Event) -> tuple[Any, ...]:
    """All of an event that has to survive."""
    return tuple(
        getattr(event, name)
        for name in ("id", "routing_key", "profile", "headers", "key", "content_type", "timestamp", "body")
    )


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[Outbox]:
    """An outbox, open within the block."""
    outbox = Outbox(path, **options)
    outbox.open()
    try:
        async with asyncio.timeout(HANG):
            yield outbox
    finally:
        await outbox.close(HANG)


async def bodies(outbox: Outbox, destination: str = "a", after: int = 0) -> list[bytes]:
    """The bodies that wait for a destination."""
    return [event.body for _, event in await outbox.page(destination, after)]


class Disk:
    """A disk that fails while `error` is set, at the statements that begin with `at`.

    A statement that writes outside of a transaction is one of its own: it begins and commits.
    """

    def __init__(self) -> None:
        self.error: Callable[[], Exception] | None = None
        self.at: tuple[str, ...] = ("BEGIN", "INSERT", "DELETE", "COMMIT")
        self.before: Callable[[str], None] = lambda statement: None
        self.connections = 0

    def connect(self, path: Path) -> Any:
        if self.error is not None:
            raise self.error()
        self.connections += 1
        return _Connection(connect(path), self)

    def fail(self, message: str = "disk I/O error", at: tuple[str, ...] = ("COMMIT",)) -> None:
        self.error, self.at = lambda: sqlite3.OperationalError(message), at

    def mend(self) -> None:
        self.error = None


class _Connection:
    def __init__(self, real: sqlite3.Connection, disk: Disk) -> None:
        self._real, self._disk = real, disk

    def execute(self, statement: str, *values: Any) -> Any:
        alone = statement.startswith(("INSERT", "DELETE")) and not self._real.in_transaction
        for step in ("BEGIN", statement, "COMMIT") if alone else (statement,):
            self._disk.before(step)
            if self._disk.error is not None and step.startswith(self._disk.at):
                raise self._disk.error()
        return self._real.execute(statement, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


async def spawn(script: str, *arguments: object) -> asyncio.subprocess.Process:
    """A Python process that runs a script, its output to be read."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(script),
        *map(str, arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
