"""A database for the tests of handlers with an inbox: it keeps marks in memory, and says what was asked of it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from evbus_like.engine.receiving.consumer import Consumer
from tests.unit.sources import consuming

LISTENER = "shipping.ship"


class Transaction:
    """A transaction of a handler; `connection` is a fresh object."""

    def __init__(self, inbox: "Inbox", event_id: str) -> None:
        self.inbox = inbox
        self.id = event_id
        self.connection: Any = object()

    async def commit(self) -> None:
        await self.inbox.step("commit", self.id)
        if self.id:
            self.inbox.marks.add((LISTENER, self.id))

    async def roll_back(self, error: BaseException) -> None:
        await self.inbox.step("roll back", f"{self.id} {type(error).__name__}")


class Inbox:
    """Keeps the marks of committed events; `script` has the errors of the next calls of a verb, None where it succeeds.

    `said` holds what was asked of it, in order.
    """

    label = "postgres:shop"

    def __init__(self, begin: Sequence[Exception | None] = (), commit: Sequence[Exception | None] = ()) -> None:
        self.stopping = False
        self.script = {"begin": deque(begin), "commit": deque(commit), "roll back": deque[Any]()}
        self.marks: set[tuple[str, str]] = set()
        self.said: list[str] = []

    async def begin(self, listener: str, event_id: str) -> Transaction | None:
        await self.step("begin", event_id)
        return None if (listener, event_id) in self.marks else Transaction(self, event_id)

    async def close(self) -> None:
        self.said.append("close")

    async def step(self, verb: str, of: str) -> None:
        self.said.append(f"{verb} {of}".rstrip())
        await asyncio.sleep(0)
        if steps := self.script[verb]:
            error = steps.popleft()
            if error is not None:
                raise error


@asynccontextmanager
async def consuming_with(inbox: Inbox, source: Any, call: Any, **options: Any) -> AsyncIterator[Consumer]:
    """A consumer that runs, whose handler has this inbox."""
    async with consuming(source, call, inbox="shop", **options) as consumer:
        given: Any = consumer.invoker
        given.inbox, given.listener, given.stats = inbox, LISTENER, consumer.stats
        yield consumer
