"""The scheduler: hands the scheduled events of the outbox to their lanes when they are due."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import time
from typing import TYPE_CHECKING

from evbus_like.engine.errors import BadEvent, PutError
from evbus_like.engine.event import Event
from evbus_like.engine.sending.admission import Admission

if TYPE_CHECKING:
    from evbus_like.engine.outbox import Outbox
    from evbus_like.engine.outbox.scheduled import Form, ScheduledEvent

log = logging.getLogger("evbus_like.bus")

NEVER = float("inf")
LOOK_EVERY = 1.0  # seconds: the most between two looks at the clock of the machine, which somebody may set
AT_ONCE = 500  # events in a transaction
NAMES_REMEMBERED = 1000  # profiles that no profile matches; each is logged once
END = 2.0  # seconds for the transaction under way at a stop


class Scheduler:
    """Waits by the loop's clock, which only goes forward, for times of the machine's clock, which may be set.

    Only the time of the next event is in memory; events are read when they are due. `send` gets what has become
    pending: seqs, events and the names of their destinations.
    """

    def __init__(
        self,
        outbox: Outbox,
        admission: Callable[[], Admission],
        send: Callable[[Sequence[tuple[int, Event, str]]], None],
    ) -> None:
        self._outbox = outbox
        self._admission = admission
        self._send = send
        self._next = 0.0  # when to look into the outbox, in seconds since 1970
        self._ending = False
        self._unmatched: set[str] = set()
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="evbus_like scheduler")

    def expect(self, due: float) -> None:
        """Note that an event is being stored that is due at this time."""
        if due < self._next:
            self._next = due
            self._wake.set()

    async def close(self) -> None:
        """End; events that are not due yet stay in the outbox."""
        self._ending = True
        self._wake.set()
        await asyncio.wait([self._task], timeout=END)
        self._task.cancel()
        await asyncio.wait([self._task], timeout=END)

    async def _run(self) -> None:
        while not self._ending:
            try:
                if self._next <= time():
                    await self._fire()
            except PutError as error:  # the outbox has logged what is wrong with it
                log.debug("scheduled events wait: %s", error)
                self._next = time() + LOOK_EVERY
            except Exception:
                log.exception("scheduled events could not be sent; they are tried again")
                self._next = time() + LOOK_EVERY
            await self._wait()

    async def _wait(self) -> None:
        left = self._next - time()
        if left <= 0 or self._ending:
            return
        self._wake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(None if self._next == NEVER else min(left, LOOK_EVERY)):
                await self._wake.wait()

    async def _fire(self) -> None:
        """Send what is due, and learn when the next event is."""
        self._next = NEVER  # `expect` may set an earlier time while the outbox works
        await self.send_until(time())
        first = await self._outbox.first_due()
        if first is not None:
            self._next = min(self._next, first)

    async def send_until(self, moment: float) -> int:
        """Send some of what is due until a moment, and return how many events; 0 if none is left."""
        due = await self._outbox.read_due(moment, AT_ONCE)
        if due:
            self._send(await self._outbox.fire([(each, self._forms(each)) for each in due]))
        return len(due)

    def _forms(self, due: ScheduledEvent) -> list[Form]:
        """Give the forms for the destinations that match now; where none does, for those that matched at the put."""
        try:
            route = self._admission().router.route(due.profile)
        except BadEvent as error:
            log.error("the scheduled event %s goes to the destinations that it had when it was put: %s", due.id, error)
            return _sent_now(due.forms)
        if route.groups:
            forms = _sent_now(
                [(_form(due, each.content_type), tuple(lane.name for lane in lanes)) for each, lanes in route.groups]
            )
            for (event, _), (_, lanes) in zip(forms, route.groups, strict=True):
                event.headers = route.headers_for(event, event.headers, lanes)
            return forms
        if due.profile not in self._unmatched and len(self._unmatched) < NAMES_REMEMBERED:
            self._unmatched.add(due.profile)
            log.warning(
                "no profile matches %.100r any more: its scheduled events wait in the outbox for %s (logged once); see"
                " `evbus outbox ls`",
                due.profile,
                ", ".join(due.destinations),
            )
        return _sent_now(due.forms)


def _sent_now(forms: Sequence[Form]) -> list[Form]:
    """Give the events the time at which they are sent: how long they wait for their destinations counts from then."""
    now = time()
    for event, _ in forms:
        event.timestamp = now
    return list(forms)


def _form(due: ScheduledEvent, content_type: str) -> Event:
    """Give the form of an event that has this content type, else the first."""
    events = [event for event, _ in due.forms]
    return next((event for event in events if event.content_type == content_type), events[0]).copy()
