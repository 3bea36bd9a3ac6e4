"""Records the events that are put on a bus in memory, for tests."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from evbus_like.engine.event import SERVICE_HEADER, Event
from evbus_like.engine.handling import CAUSE
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import matches
from evbus_like.hub import decoding
from evbus_like.hub.runtime import Hub

TAP = "evbus_like: what was put"  # the name of the queue that gets a copy of every event
# Whatever the profile of an event: handlers get it by the first profile, and a copy is kept by the second.
PROFILES = {"internal": {"*": None, "**": {"routing_key": TAP}}}
MOST = 100_000  # events that are kept; older ones are dropped


@dataclass(frozen=True)
class Sent:
    """One event that was put, as a receiver gets it.

    It has `routing_key`, `body` (decoded again), `headers`, `service`, `profile`, `id`, `key`, and `cause`, the id of
    the event whose handler put it.
    """

    routing_key: str
    body: Any
    headers: Mapping[str, Any]
    service: str
    profile: str
    id: str
    key: str | bytes | None = None
    cause: str = ""


class Recorder:
    """Records what is put on a bus with `PROFILES`: a task empties the queue of copies, so that it never fills."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._decode = decoding.decoder(hub, tuple(decoding.formats(hub)))
        self._sent: deque[Sent] = deque(maxlen=MOST)
        self._mailbox = hub.ingress.internal.mailbox(TAP)
        self._task = asyncio.create_task(self._read(), name="evbus_like what was put")
        self._more = asyncio.Event()

    @property
    def sent(self) -> list[Sent]:
        """The events that were put, in their order."""
        if self._hub.evbus.RUNTIME.bus.state == "running":
            self._hub.evbus.RUNTIME.bus.admit_queued()  # events that put_nowait has just queued
        while self._mailbox.items:
            self._note(self._mailbox.get_event_nowait())
        return list(self._sent)

    def clear(self) -> None:
        """Forget the events that were put so far."""
        _ = self.sent
        self._sent.clear()

    def forget(self, ids: Collection[str]) -> None:
        """Forget the events with these ids."""
        kept = [each for each in self.sent if each.id not in ids]
        self._sent.clear()
        self._sent.extend(kept)

    async def changed(self) -> None:
        """Wait until another event was put."""
        self._more.clear()
        await self._more.wait()

    async def close(self) -> None:
        """Stop the task."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _read(self) -> None:
        while True:
            self._note(await self._mailbox.get_event())

    def _note(self, event: Event) -> None:
        headers = dict(event.headers or {})
        service = str(headers.pop(SERVICE_HEADER, ""))
        raw = ReceivedEvent(event.body, content_type=event.content_type)
        made = Sent(
            event.routing_key,
            self._decode(raw),
            headers,
            service,
            event.profile,
            event.id,
            event.key,
            str(headers.get(CAUSE, "")),
        )
        self._sent.append(made)
        self._more.set()


def filtered(
    sent: list[Sent], routing_key: str = "#", service: str | None = None, profile: str | None = None
) -> Iterator[Sent]:
    """Yield the events that match; the routing key may be a pattern of event types."""
    for each in sent:
        if (
            (service is None or each.service == service)
            and (profile is None or each.profile == profile)
            and (routing_key == "#" or matches(routing_key, each.routing_key))
        ):
            yield each
