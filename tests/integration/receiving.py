"""Handlers for tests on RabbitMQ: functions of the test, called by a bus of their own."""

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

from evbus_like import handlers as marks
from evbus_like.engine.receiving.group import Group
from evbus_like.engine.receiving.handler import Handler
from evbus_like.testing import eventually, running
from tests.integration.sources import on_hub
from tests.integration.support import DEADLINE


class RecordingHandler:
    """A handler that records its events; `then` is called afterwards with each, and may raise."""

    def __init__(self, then: Callable[[Any], Any] | None = None) -> None:
        self.events: list[Any] = []
        self._then = then

    async def __call__(self, event: Any) -> None:
        self.events.append(event)
        if self._then is not None:
            answer = self._then(event)
            if asyncio.iscoroutine(answer):
                await answer

    @property
    def bodies(self) -> list[Any]:
        """The bodies of the events so far."""
        return [event.body for event in self.events]

    async def wait_for(self, count: int) -> None:
        """Wait until it has had so many events."""
        await eventually(lambda: len(self.events) >= count)


class Worker:
    """The group of handlers that runs, with its statistics."""

    def __init__(self, group: Group) -> None:
        self.group = group

    def stats(self, number: int = 0) -> Any:
        """The statistics of one handler."""
        return self.group.consumers[number].stats

    async def join(self) -> None:
        """Wait until all handlers receive."""
        await self.group.subscribed(DEADLINE)

    async def until(self, state: str) -> str:
        """Wait until the first handler has a state, and give its trouble."""
        await eventually(lambda: self.stats().state == state)
        return str(self.stats().trouble)


def handle(
    call: Any, source: str, event_type: Any, service: str = "shipping", name: str = "ship", **options: Any
) -> Any:
    """Describe a handler that calls `call`."""

    def function(event: Any) -> None:
        """Only carries the mark."""

    (marked,) = getattr(marks.handler(source, event_type, name=name, **options)(function), marks.MARK)
    return Handler(f"test.{name}", service, name, call, True, marked)


@asynccontextmanager
async def receiving(profile, *handlers, join=True, timeout=10.0):
    """Run handlers on a profile of RabbitMQ, and stop them at the end."""
    profiles = {"amqp": {"default": {"timeout": 5.0, **profile}}}
    async with running() as hub, on_hub(hub, profiles, *handlers, timeout=timeout, wait=join) as group:
        yield Worker(group)
