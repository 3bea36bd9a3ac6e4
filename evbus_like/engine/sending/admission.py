"""Admission: events are routed, serialized, stored if necessary, and handed to their lanes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any

from evbus_like.engine import expiry
from evbus_like.engine.dead_letter_headers import DESTINATION
from evbus_like.engine.errors import BadEvent, OutboxFull, PutError
from evbus_like.engine.event import Event, untrack
from evbus_like.engine.failure import Failure, Report
from evbus_like.engine.queue import size_of
from evbus_like.engine.receipt import Receipt
from evbus_like.engine.sending.commits import Commits, RoutedEvent
from evbus_like.engine.sending.forwarding import fitted
from evbus_like.engine.sending.router import Entry, Route, Router
from evbus_like.engine.suggest import shown

if TYPE_CHECKING:
    from evbus_like.engine.outbox import Outbox
    from evbus_like.engine.sending.lane import Lane
    from evbus_like.engine.sending.serializer import Serializer

log = logging.getLogger("evbus_like.bus")

NAMES_REMEMBERED = 1000  # profile names that matched nothing; each is logged once, all but the first at level debug


class Admission:
    """Hands events to the lanes of one listener, and counts those that came and those that reached no lane.

    All methods run in the listener's loop. `deliver` is called when lanes have got events after their put returned.
    """

    def __init__(
        self, entries: Sequence[Entry], report: Report, deliver: Callable[[], None], outbox: Outbox | None = None
    ) -> None:
        self.router = Router(entries)
        self.commits = Commits(outbox, deliver)
        self.report = report
        self.taken = self.unmatched = self.rejected = 0
        self._deliver = deliver
        self._unmatched_names: set[str] = set()

    def set_routes(self, entries: Sequence[Entry]) -> None:
        """Use other profiles from now on; their lanes are open."""
        self.router = Router(entries)
        self._unmatched_names.clear()
        if expiry.is_used:  # another thread may have put such an event meanwhile, by the old routes
            for entry in entries:
                entry.lane.look_for_expired()

    def admit_batch(self, events: Sequence[Event]) -> int:
        """Admit events of the intake queue; returns the bytes of their bodies.

        Failures are reported, never raised. Consecutive events for the same lanes are added together, so that the cost
        of adding is shared.
        """
        routes, commits = self.router.cache, self.commits
        now = time()
        route: Route | None = None
        run: list[Event] = []
        size = total = 0
        for event in events:
            found = routes.get(event.profile)
            if found is not route or found is None or not found.quick or event.receipt is not None:
                total += self._hand_over(route, run, size)
                run, size = [], 0
                route = found
                if (
                    found is None
                    or not found.quick
                    or event.receipt is not None
                    or (commits.waiting and commits.delays(found.lanes))
                ):
                    route = None
                    self._admit_quietly(event)
                    continue
            try:
                body = _packed(found, event)
            except PutError as error:
                self.taken += 1
                self.rejected += 1
                self.report(Failure(error, event))
                continue
            event.body = body
            event.content_type = found.sole.content_type  # type: ignore[union-attr]
            event.timestamp = now
            size += len(body)
            run.append(event)
        total += self._hand_over(route, run, size)
        return total

    def _hand_over(self, route: Route | None, run: list[Event], size: int) -> int:
        """Add consecutive events to the lanes of one route; returns their bytes."""
        if route is not None and run:
            self.taken += len(run)
            untrack(run)
            for lane in route.lanes:
                lane.extend(run, size)
        return size

    def _admit_quietly(self, event: Event) -> None:
        """Admit one event of the intake queue; a failure goes to the put that waits for it, or is reported."""
        receipt = event.receipt
        if receipt is not None and receipt.withdrawn:
            return
        try:
            self.admit(event)
        except PutError as error:
            if isinstance(error, OutboxFull) and (receipt is None or not receipt.retries_when_full):
                self.taken += 1
                self.rejected += 1
            if receipt is not None:
                receipt.refuse(error)
            else:
                self.report(Failure(error, event))

    def measure(self, event: Event) -> int:
        """Return the bytes of an event's body; where it has one serializer, the result is kept for the admission."""
        route = self.router.cache.get(event.profile)
        serializer = route.sole if route is not None else None
        if serializer is None:
            return size_of(event.body)
        if event.packed is not None and event.packed[0] == serializer.name:
            return len(event.packed[1])
        try:
            packed = serializer.dump(event.body)
        except KeyboardInterrupt:
            raise
        except BaseException:  # the admission says what is wrong
            return size_of(event.body)
        if type(packed) is not bytes:
            return size_of(event.body)
        event.packed = serializer.name, packed
        return len(packed)

    def check_headers(self, profile: str, headers: Mapping[str, Any], size: int) -> None:
        """Raise BadEvent if a destination of the profile does not take these headers; `size` is their bytes."""
        router = self.router
        if size > router.max_header_bytes or not router.looked_at.isdisjoint(headers):
            router.check_headers(profile, headers, size)

    def route(self, profile: str) -> Route:
        """Return the route of a profile name; raises BadEvent, and counts the event as rejected, if it is unknown."""
        try:
            return self.router.cache.get(profile) or self.router.route(profile)
        except PutError:
            self.taken += 1
            self.rejected += 1
            raise

    def admit(self, event: Event) -> tuple[str, ...]:
        """Admit one event and return the names of its lanes; raises PutError, and then no lane has it.

        If it must be stored first, its receipt tells when the lanes have it. OutboxFull leaves the event unchanged.
        """
        route = self.router.cache.get(event.profile) or self.route(event.profile)
        if route.stores is not None and route.stores.outbox is not None:
            self._store(event, route, route.stores)
        elif not route.quick or (self.commits.waiting and self.commits.delays(route.lanes)):
            self._admit_slowly(event, route)
        else:
            assert route.sole is not None
            self.taken += 1
            try:
                event.body = _packed(route, event)
            except PutError:
                self.rejected += 1
                raise
            event.content_type = route.sole.content_type
            event.timestamp = time()
            if event.receipt is not None:
                event.receipt.accept(route.names)
                event.attach(event.receipt.for_delivery())
            for lane in route.lanes:
                lane.extend((event,), len(event.body))
        return route.names

    def _store(self, event: Event, route: Route, lane: Lane) -> None:
        """Admit an event of one lane, which must be stored first."""
        raw, receipt = event.body, event.receipt
        self.taken += 1
        try:
            event.body = _packed(route, event)
            event.content_type = route.sole.content_type  # type: ignore[union-attr]
            event.timestamp = time()
            if receipt is not None:
                event.attach(receipt.for_delivery())
            self.commits.store(event, lane, route.names, receipt, self._failed)
        except OutboxFull:
            # The put waits for room and tries again.
            self.taken -= 1
            event.body = raw
            event.attach(receipt)
            raise
        except PutError:
            self.rejected += 1
            raise
        if receipt is not None:
            receipt.irrevocable = True

    def _admit_slowly(self, event: Event, route: Route) -> None:
        """Admit an event with several forms or no destination, or that must be stored or wait for a stored one."""
        raw, headers, event.packed = event.body, event.headers, None
        if route.swapped is not None and type(raw) is str:
            route.swapped.look(event)
        try:
            bodies = [_packed_for(route, event, *group) for group in route.groups]
        except PutError:
            self.taken += 1
            self.rejected += 1
            raise
        event.timestamp = time()
        receipt = event.receipt
        event.attach(receipt and receipt.for_delivery())
        routed = []
        for index, (serializer, lanes) in enumerate(route.groups):
            each = event.copy() if index else event
            each.body = bodies[index]
            each.content_type = serializer.content_type
            if route.gives_options:
                each.headers = route.headers_for(event, headers, lanes)
            routed.append(RoutedEvent(each, lanes))
        if route.direct and not self.commits.delays(route.lanes):
            self._accept(event, receipt, route, routed)
        else:
            try:
                self.commits.add(routed, partial(self._stored, event, receipt, route))
            except OutboxFull:
                # The put waits for room and tries again.
                event.body, event.headers = raw, headers
                event.attach(receipt)
                raise
            except PutError:
                self.taken += 1
                self.rejected += 1
                raise
            self.taken += 1
            if receipt is not None:
                receipt.irrevocable = True

    def forms(self, event: Event) -> list[tuple[Event, tuple[str, ...]]]:
        """Serialize an event that is sent later, in a form for each serializer, with the names of its destinations.

        It is counted; raises what `admit` raises. Without a destination there is no form.
        """
        route = self.route(event.profile)
        if route.swapped is not None and type(event.body) is str:
            route.swapped.look(event)
        self.taken += 1
        try:
            bodies = [_packed_for(route, event, *group) for group in route.groups]
        except PutError:
            self.rejected += 1
            raise
        event.timestamp = time()
        forms: dict[str, tuple[Event, tuple[str, ...]]] = {}
        for body, (serializer, lanes) in zip(bodies, route.groups, strict=True):
            each, names = forms.get(serializer.name) or (event.copy() if forms else event, ())
            each.body, each.content_type = body, serializer.content_type
            forms[serializer.name] = each, (*names, *[lane.name for lane in lanes])
        if not forms:
            self._log_unmatched(event)
        return list(forms.values())

    def _accept(self, event: Event, receipt: Receipt | None, route: Route, routed: Sequence[RoutedEvent]) -> None:
        self.taken += 1
        if receipt is not None:
            receipt.accept(route.names)
        for each in routed:
            for lane in each.lanes:
                lane.extend((each.event,), len(each.event.body))
        if not routed:
            self._log_unmatched(event)

    async def forward(self, event: Event, profile: str, why: Mapping[str, Any]) -> bool:
        """Hand a dead letter to the lanes of another profile, in a form that they take; False if they do not get it.

        `why` is added to its headers. A dead letter that cannot be delivered is not forwarded again. One that would
        lose its body is not forwarded if the outbox can keep it whole.
        """
        try:
            lanes = self.router.route(profile).lanes
        except BadEvent as error:
            log.error("a dead letter cannot be forwarded: %s", error)
            return False
        if not lanes or DESTINATION in (event.headers or {}):
            return False
        copy = fitted(event, profile, why, lanes)
        if copy is None or (len(copy.body) < len(event.body) and self.commits.outbox is not None):
            log.error("%s does not take the dead letter of %r, which is too large or lacks something", profile, event)
            return False
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: PutError | None) -> None:
            if error is not None and not accepted.done():
                accepted.set_exception(error)
            elif not accepted.done():
                accepted.set_result(None)

        self.commits.add([RoutedEvent(copy, lanes)], done)
        await accepted
        self._deliver()
        return True

    def _stored(self, event: Event, receipt: Receipt | None, route: Route, error: PutError | None) -> None:
        """Record that the lanes have an event, or the error."""
        if error is None:
            if receipt is not None:
                receipt.accept(route.names)
            return
        self._failed(event, receipt, error)

    def _failed(self, event: Event, receipt: Receipt | None, error: PutError) -> None:
        self.rejected += 1
        if receipt is not None and not receipt.withdrawn:
            receipt.refuse(error)
        else:
            self.report(Failure(error, event))

    def _log_unmatched(self, event: Event) -> None:
        """Count an event that no profile matches, and say so once: applications name profiles that nobody need have."""
        self.unmatched += 1
        names = self._unmatched_names
        if event.quiet or event.profile in names:
            return
        entries = self.router.entries
        level = logging.DEBUG if names else logging.WARNING if entries else logging.INFO
        if len(names) < NAMES_REMEMBERED:
            names.add(event.profile)
        log.log(
            level,
            "no profile matches %s, so its events go nowhere (logged once; other names at level debug);"
            " profiles: %s. Add a profile of that name, or a pattern that matches it, to the credentials",
            shown(event.profile),
            ", ".join(entry.lane.name for entry in entries[:10]) or "none",
        )


def _packed(route: Route, event: Event) -> bytes:
    """Serialize a body with the route's only serializer, whose `pack` raises the error if that fails."""
    serializer = route.sole
    assert serializer is not None
    kept, packed = event.packed, None
    if kept is not None:
        event.packed = None
        packed = kept[1] if kept[0] == serializer.name else None
    if packed is None:
        try:
            packed = serializer.dump(event.body)
        except KeyboardInterrupt:
            raise
        except BaseException:
            packed = None
    if type(packed) is not bytes or len(packed) > route.max_event_bytes:
        packed = serializer.pack(event.body, route.lanes)
    if route.watched:
        if route.swapped is not None and type(event.body) is str:
            route.swapped.look(event)
        if route.ask_above is not None:
            route.ask(event, packed, serializer, route.lanes)
    return packed


def _packed_for(route: Route, event: Event, serializer: Serializer, lanes: Sequence[Lane]) -> bytes:
    """Serialize a body for those lanes of a route that have this serializer."""
    packed = serializer.pack(event.body, lanes)
    if route.ask_above is not None:
        route.ask(event, packed, serializer, lanes)
    return packed
