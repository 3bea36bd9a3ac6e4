"""Putting: events enter the bus, from any thread and any event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from evbus_like.engine import event as events
from evbus_like.engine.bus import Bus
from evbus_like.engine.errors import BadEvent, BusStopped, NotDelivered, OutboxFull, PutTimeout, QueueFull
from evbus_like.engine.event import (
    MAX_ROUTING_KEY,
    Event,
    check,
    next_number,
    own_headers,
    plain,
    quiet_context,
    service_headers,
)
from evbus_like.engine.expiry import with_options
from evbus_like.engine.handling import current
from evbus_like.engine.put_later import cancel, due_time, put_later
from evbus_like.engine.put_within import put_within, put_within_now
from evbus_like.engine.receipt import Receipt
from evbus_like.engine.sending.router import Route
from evbus_like.engine.suggest import shown
from evbus_like.engine.waiting import LOOP_GRACE, run_in_loop, wrong_timeout

Confirm = Literal["queued", "accepted", "delivered"]
BULK = 3  # a body that is not serialized yet takes about three times its bytes
new_event = Event.make
PUTS_IN_A_ROW = 100  # accepted puts that never wait, before the lanes' tasks run


class Putter:
    """Puts events into one bus; `timeout` is the default deadline of a put, in seconds."""

    def __init__(self, bus: Bus, timeout: float = 30.0) -> None:
        self.bus = bus
        self.timeout = timeout
        self._in_a_row = 0

    def put_nowait(
        self,
        routing_key: str = "",
        body: Any = None,
        profile: str = "default",
        headers: Mapping[str, Any] | None = None,
        key: str | bytes | None = None,
        within: Any = None,
        *,
        expires: float | None = None,
        priority: int | None = None,
    ) -> str:
        """Queue an event and return its id; raises BadEvent, QueueFull or BusStopped.

        The body is serialized later: it must not be changed, and if it cannot be serialized, the error is reported.
        With `within`, a blocking connection of the application, the event is serialized and stored at once.
        """
        bus = self.bus
        if bus.closed:
            raise bus.refusal(profile)
        if (
            type(routing_key) is not str
            or not routing_key.isascii()
            or len(routing_key) > MAX_ROUTING_KEY
            or type(profile) is not str
            or headers is not None
            or key is not None
            or within is not None
            or expires is not None
            or priority is not None
        ):
            if expires is not None or priority is not None:
                headers = with_options(headers, expires, priority)
            if within is not None:
                return put_within_now(bus, self._event(routing_key, body, profile, _under_way(headers), key), within)
            size = check(routing_key, profile, headers, key)
            routing_key, profile, key = plain(routing_key), plain(profile), plain(key)
            if headers:
                bus.admission.check_headers(profile, headers, size)
        route = bus.admission.router.cache.get(profile)
        if route is not None:
            before = bus.intake.bytes  # of the events that are put and in no lane yet; 0 while they are few
            for lane in route.lanes:
                if lane.puts_wait or (before and lane.blocks and lane.bytes + BULK * before >= lane.options.max_bytes):
                    also = f" and {before} before it" if before else ""
                    raise QueueFull(
                        f"{lane.name} is full ({len(lane.queue)} events, {lane.bytes} bytes wait{also};"
                        f" {lane.trouble}); use `await put(...)`, which waits for room"
                    )
            if not route.direct and bus.outbox is not None and bus.admission.commits.full_for(route.lanes):
                raise QueueFull(
                    f"the outbox {bus.outbox.path} is full, or too slow; use `await put(...)`, which waits for room"
                )
        under_way = current()
        if under_way is None:
            own = own_headers(headers) if headers else None  # the caller may change its own
            event = new_event(events.prefix, next_number(), routing_key, body, profile, own, key, quiet_context())
        else:  # put by a handler, which succeeds only when the event is stored or delivered
            event = Event(routing_key, body, profile, under_way.onto(headers), key, quiet_context())
            receipt = Receipt(event.id)
            event.attach(receipt)
            self.bus.intake.put_nowait(event)
            under_way.expect(receipt)  # not if the queue was full: then the handler knows that the event is lost
            return event.id
        self.bus.intake.put_nowait(event)
        return event.id

    async def put(
        self,
        routing_key: str = "",
        body: Any = None,
        profile: str = "default",
        headers: Mapping[str, Any] | None = None,
        key: str | bytes | None = None,
        confirm: Confirm = "accepted",
        timeout: float | None = None,
        within: Any = None,
        *,
        expires: float | None = None,
        priority: int | None = None,
        delay: float | None = None,
        at: datetime | None = None,
    ) -> Receipt:
        """Put an event and return once it is queued, accepted or delivered, as `confirm` says.

        With `within`, a connection of the application, the event is stored in its transaction, and delivered after the
        commit. With `delay`, in seconds, or `at`, the outbox holds it until then. Raises BadEvent, SerializeError,
        EventTooLarge, BusStopped; PutTimeout if there is no room in time; and NotDelivered. After an error no
        destination gets the event, except after NotDelivered, and after a PutTimeout that says that the outbox did not
        answer.
        """
        if confirm not in ("queued", "accepted", "delivered"):
            raise BadEvent(f'confirm must be "queued", "accepted" or "delivered", not {shown(confirm)}')
        if timeout is not None and (wrong := wrong_timeout(timeout)):
            raise BadEvent(wrong)
        if delay is not None or at is not None:
            due = due_time(delay, at)
            if expires is not None or priority is not None:
                headers = with_options(headers, expires, priority, due)
            later = self._event(routing_key, body, profile, _under_way(headers), key)
            return await put_later(self.bus, later, due, confirm, within, self.timeout if timeout is None else timeout)
        if expires is not None or priority is not None:
            headers = with_options(headers, expires, priority)
        under_way = current()
        event = self._event(routing_key, body, profile, headers, key)
        if under_way is not None:
            event.headers = headers = dict(under_way.onto(event.headers)) or None
        timeout = self.timeout if timeout is None else timeout
        bus = self.bus
        if within is not None:
            return await put_within(bus, event, within, confirm, timeout)
        if bus.state == "new":
            return await self._queue(event, confirm, timeout)
        if asyncio.get_running_loop() is not bus.loop:
            return await run_in_loop(
                Putter.put(self, routing_key, body, profile, headers, key, confirm, timeout),
                bus.loop,
                timeout + LOOP_GRACE,
                blocked=PutTimeout(f"the listener's event loop did not answer for {timeout:g} s; is it blocked?"),
                closed=BusStopped(
                    f"the event loop of the listener is closed (profile {profile!r}); start the bus again"
                ),
            )
        deadline = bus.loop.time() + timeout
        route = bus.admission.route(profile)
        for lane in route.lanes:
            if lane.puts_wait:
                route = await self._wait_for_room(profile, deadline, timeout)
                break
        if bus.state != "running":  # it may have stopped during the wait
            raise bus.refusal(profile)
        if confirm == "queued":
            return await self._queue(event, confirm, timeout)
        intake = bus.intake
        if intake.is_shutdown:
            raise intake.shut_down()
        if intake.items:  # earlier events come first
            bus.admit_queued()
        if under_way is not None:
            receipt = Receipt(event.id)
            try:
                return await self._wait(event, receipt, confirm, deadline, timeout)
            finally:  # also if it was accepted, and the handler waits no longer for its delivery
                if receipt.destinations is not None:
                    under_way.expect(receipt)
        stores = route.stores
        if stores is not None and stores.outbox is not None and confirm == "accepted" and not intake.items:
            receipt = Receipt(event.id, follow=False)
            event.attach(receipt)
            try:
                bus.admission.admit(event)
            except OutboxFull as full:
                await self._admit_when_room(event, full, deadline, timeout)
            try:
                await receipt.wait_accepted(bus.deadlines, deadline)
            except TimeoutError:
                raise self._unanswered(timeout) from None
            return receipt
        commits = bus.admission.commits
        delayed = commits.waiting and commits.delays(route.lanes)
        if intake.items or confirm == "delivered" or not route.direct or delayed:
            receipt = Receipt(event.id, follow=confirm == "delivered")
            return await self._wait(event, receipt, confirm, deadline, timeout)
        names = bus.admit(event)
        self._in_a_row += 1
        if self._in_a_row >= PUTS_IN_A_ROW:
            self._in_a_row = 0
            await asyncio.sleep(0)
        return Receipt(event.id, names)

    async def dispatch(
        self,
        service: str,
        event_type: str,
        body: Any,
        profile: str = "default",
        headers: Mapping[str, Any] | None = None,
        key: str | bytes | None = None,
        confirm: Confirm = "accepted",
        timeout: float | None = None,
        within: Any = None,
        *,
        expires: float | None = None,
        priority: int | None = None,
        delay: float | None = None,
        at: datetime | None = None,
    ) -> Receipt:
        """Put an event of a service; raises what `put` raises."""
        headers = service_headers(service, event_type, headers)
        given = (event_type, body, profile, headers, key, confirm, timeout, within)
        return await self.put(*given, expires=expires, priority=priority, delay=delay, at=at)

    async def cancel(self, schedule_id: str, within: Any = None) -> bool:
        """Delete an event that was put with `delay` or `at` and is not due yet; False if there is none of this id."""
        return await cancel(self.bus, schedule_id, within, self.timeout)

    def dispatch_nowait(
        self,
        service: str,
        event_type: str,
        body: Any,
        profile: str = "default",
        headers: Mapping[str, Any] | None = None,
        key: str | bytes | None = None,
        within: Any = None,
        *,
        expires: float | None = None,
        priority: int | None = None,
    ) -> str:
        """Put an event of a service without waiting; raises what `put_nowait` raises."""
        headers = service_headers(service, event_type, headers)
        return self.put_nowait(event_type, body, profile, headers, key, within, expires=expires, priority=priority)

    async def _wait(self, event: Event, receipt: Receipt, confirm: str, deadline: float, timeout: float) -> Receipt:
        """Put an event that must wait, for the outbox, for earlier events, or for what `confirm` asks."""
        bus = self.bus
        event.attach(receipt)
        if bus.intake.items:
            await self._put_in_order(event, receipt, deadline, timeout)
        else:
            try:
                bus.admit(event)
            except OutboxFull as full:
                await self._admit_when_room(event, full, deadline, timeout)
        try:
            await receipt.wait_accepted(bus.deadlines, deadline)
        except TimeoutError:
            raise self._unanswered(timeout) from None
        if confirm == "delivered":
            await self._wait_delivered(event, receipt, deadline, timeout)
        return receipt

    def _event(self, routing_key: str, body: Any, profile: str, headers: Any, key: Any) -> Event:
        if self.bus.closed:
            raise self.bus.refusal(profile)
        if (
            headers is not None
            or key is not None
            or type(routing_key) is not str
            or type(profile) is not str
            or not routing_key.isascii()
            or len(routing_key) > MAX_ROUTING_KEY
        ):
            size = check(routing_key, profile, headers, key)
            if headers:
                self.bus.admission.check_headers(profile, headers, size)
            routing_key, profile, key = plain(routing_key), plain(profile), plain(key)
        own = own_headers(headers) if headers else None  # the caller may change its own
        return new_event(events.prefix, next_number(), routing_key, body, profile, own, key, quiet_context())

    async def _queue(self, event: Event, confirm: str, timeout: float) -> Receipt:
        """Queue the event without waiting for the listener."""
        if confirm == "delivered":
            raise BadEvent('confirm="delivered" needs a running bus: await hub.evbus.init.join() after starting it')
        under_way = current()
        receipt = None if under_way is None else Receipt(event.id)
        if receipt is not None:
            event.attach(receipt)
        try:
            self.bus.intake.put_nowait(event)
        except QueueFull as full:
            try:
                async with asyncio.timeout(timeout):
                    await self.bus.intake.put(event)
            except TimeoutError:
                raise PutTimeout(
                    f"{full} and had no room for {timeout:g} s; is hub.evbus.init.start running?"
                ) from None
        if under_way is not None and receipt is not None:
            under_way.expect(receipt)
        return Receipt(event.id)

    async def _wait_for_room(self, profile: str, deadline: float, timeout: float) -> Route:
        """Wait until all lanes of a profile have room at the same time, and return its route.

        Raises PutTimeout naming a lane that has none. During the wait other lanes may fill up, and the profiles may be
        reloaded.
        """
        while True:
            route = self.bus.admission.route(profile)
            lane = next((each for each in route.lanes if each.puts_wait), None)
            if lane is None:
                return route
            if self.bus.state != "running":
                raise self.bus.refusal(lane.name)
            try:
                async with asyncio.timeout_at(deadline):
                    await lane.wait_for_room()
            except TimeoutError:
                raise PutTimeout(
                    f"{lane.name} is full ({len(lane.queue)} events, {lane.bytes} bytes wait; {lane.trouble})"
                    f" and had no room for {timeout:g} s"
                ) from None

    async def _put_in_order(self, event: Event, receipt: Receipt, deadline: float, timeout: float) -> None:
        """Queue the event behind earlier ones and wait until it is accepted."""
        receipt.retries_when_full = True
        try:
            async with asyncio.timeout_at(deadline):
                await self.bus.intake.put(event)
            await receipt.wait_accepted(self.bus.deadlines, deadline)
        except OutboxFull as full:
            receipt.clear_refusal()
            await self._admit_when_room(event, full, deadline, timeout)
        except TimeoutError:
            if receipt.irrevocable:
                raise self._unanswered(timeout) from None
            raise PutTimeout(
                f"the event was not accepted within {timeout:g} s: {self.bus.intake.qsize()} events were put before it"
            ) from None

    def _unanswered(self, timeout: float) -> PutTimeout:
        outbox = self.bus.outbox
        return PutTimeout(
            f"the outbox {outbox and outbox.path} did not answer for {timeout:g} s: whether the event is"
            " stored is not known; if it is, it will be delivered. Is the disk slow or gone?"
        )

    async def _admit_when_room(self, event: Event, full: OutboxFull, deadline: float, timeout: float) -> None:
        """Admit an event for which the outbox was full, waiting for room there."""
        bus = self.bus
        outbox = bus.outbox
        assert outbox is not None
        while bus.state == "running":
            try:
                async with asyncio.timeout_at(deadline):
                    await outbox.wait_for_room(full.needed)
            except TimeoutError:
                raise PutTimeout(f"the outbox {outbox.path} had no room for {timeout:g} s") from None
            try:
                bus.admit(event)
                return
            except OutboxFull as again:
                full = again  # other puts were faster
        raise bus.refusal(event.profile)

    async def _wait_delivered(self, event: Event, receipt: Receipt, deadline: float, timeout: float) -> None:
        try:
            await receipt.wait_delivered(self.bus.deadlines, deadline)
        except TimeoutError:
            waiting = [lane for lane in self.bus.lanes if lane.name in receipt.pending]
            troubles = "; ".join(f"{lane.name}: {lane.trouble}" for lane in waiting)
            raise NotDelivered(
                f"no confirmation within {timeout:g} s; the event stays queued. {troubles}", receipt
            ) from None
        if not receipt.matched:
            raise NotDelivered(f"no profile matches {shown(event.profile)}, so nobody gets the event", receipt)
        if not receipt.delivered:
            failed = "; ".join(f"{name}: {o}" for name, o in receipt.outcomes.items() if isinstance(o, Exception))
            raise NotDelivered(f"not delivered to {failed}", receipt)


def _under_way(headers: Any) -> Any:
    """Return the headers of an event, with those of the handler's that puts it."""
    handling = current()
    return headers if handling is None else handling.onto(headers)
