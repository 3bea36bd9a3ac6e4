"""Admission: an accepted event is routed and serialized, stored where it must be, and handed to its lanes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any

from evbus_like.engine.errors import BadEvent, OutboxFull, PutError
from evbus_like.engine.event import SERVICE_HEADER, Event
from evbus_like.engine.failure import Failure, Report
from evbus_like.engine.receipt import Receipt
from evbus_like.engine.sending.commits import Commits, RoutedEvent
from evbus_like.engine.sending.router import Entry, Route, Router

if TYPE_CHECKING:
    from evbus_like.engine.outbox import Outbox

log = logging.getLogger("evbus_like.bus")

DEAD_HEADER = "evbus-dead-destination"
NAMES_REMEMBERED = 1000  # event profiles that matched nothing: each is logged once


class Admission:
    """Lets events in to the lanes of one listener, and counts those that came and those that got no further.

    Everything is in the listener's loop. `deliver` is called once lanes have got events later than their put.
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

    def lead(self, entries: Sequence[Entry]) -> None:
        """Route by other profiles from here on; their lanes are open."""
        self.router = Router(entries)
        self._unmatched_names.clear()

    def pump(self, events: Sequence[Event]) -> int:
        """Route and serialize events of the intake queue, and give the bytes that they came to.

        Failures are reported, never raised. Runs of events for the same lanes are handed over together: what is done
        once a run costs an event nothing.
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
                if found is None or not found.quick or event.receipt is not None or commits.concerns(found.lanes):
                    route = None
                    self._admit_quietly(event)
                    continue
            try:
                body = found.sole.pack(event.body, found.lanes)  # type: ignore[union-attr]
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
        """Give a run of serialized events to the lanes of one route, and give its bytes."""
        if route is not None and run:
            self.taken += len(run)
            for lane in route.lanes:
                lane.offer(run, size)
        return size

    def _admit_quietly(self, event: Event) -> None:
        """Admit one event of the intake queue; whoever waits for it, or else the reporter, hears of a failure."""
        receipt = event.receipt
        if receipt is not None and receipt.withdrawn:
            return
        try:
            self.admit(event)
        except PutError as error:
            if isinstance(error, OutboxFull) and (receipt is None or not receipt.waits_for_room):
                self.taken += 1
                self.rejected += 1
            if receipt is not None:
                receipt.refuse(error)
            else:
                self.report(Failure(error, event))

    def route(self, profile: str) -> Route:
        """Give the route of an event profile; an event whose route cannot be told is rejected: raises BadEvent."""
        try:
            return self.router.cache.get(profile) or self.router.route(profile)
        except PutError:
            self.taken += 1
            self.rejected += 1
            raise

    def admit(self, event: Event) -> tuple[str, ...]:
        """Route and serialize one event and hand it to its lanes; raises PutError, and then no lane has it.

        Where it must be stored first, its receipt says when the lanes have it. OutboxFull leaves the event as it was.
        """
        route = self.route(event.profile)
        if not route.quick or self.commits.concerns(route.lanes):
            self._admit_slowly(event, route)
        else:
            assert route.sole is not None
            self.taken += 1
            try:
                event.body = route.sole.pack(event.body, route.lanes)
            except PutError:
                self.rejected += 1
                raise
            event.content_type = route.sole.content_type
            event.timestamp = time()
            if event.receipt is not None:
                event.receipt.accept(route.names)
                event.receipt = event.receipt.followed()
            for lane in route.lanes:
                lane.offer((event,), len(event.body))
        return route.names

    def _admit_slowly(self, event: Event, route: Route) -> None:
        """Admit an event that has several forms, or no destination, or must be stored, or wait for one that is."""
        raw = event.body
        try:
            bodies = [serializer.pack(raw, lanes) for serializer, lanes in route.groups]
        except PutError:
            self.taken += 1
            self.rejected += 1
            raise
        event.timestamp = time()
        receipt = event.receipt
        event.receipt = receipt and receipt.followed()
        parcels = []
        for index, (serializer, lanes) in enumerate(route.groups):
            parcel = event.copy() if index else event
            parcel.body = bodies[index]
            parcel.content_type = serializer.content_type
            parcels.append(RoutedEvent(parcel, lanes))
        if route.plain and not self.commits.concerns(route.lanes):
            self._accept(event, receipt, route, parcels)
        else:
            try:
                self.commits.add(parcels, partial(self._stored, event, receipt, route))
            except OutboxFull:
                event.body, event.receipt = raw, receipt  # whoever waits for room tries again
                raise
            except PutError:
                self.taken += 1
                self.rejected += 1
                raise
            self.taken += 1
            if receipt is not None:
                receipt.taken = True

    def _accept(self, event: Event, receipt: Receipt | None, route: Route, parcels: Sequence[RoutedEvent]) -> None:
        self.taken += 1
        if receipt is not None:
            receipt.accept(route.names)
        for parcel in parcels:
            for lane in parcel.lanes:
                lane.offer((parcel.event,), len(parcel.event.body))
        if not parcels:
            self._no_match(event)

    async def forward(self, event: Event, profile: str, why: Mapping[str, Any]) -> bool:
        """Hand a dead letter, its body untouched, to the lanes of another profile; False where no profile matches.

        Its headers say why. A dead letter that dies again is not forwarded again.
        """
        try:
            lanes = self.router.route(profile).lanes
        except BadEvent as error:
            log.error("a dead letter stays where it is: %s", error)
            return False
        if not lanes or DEAD_HEADER in (event.headers or {}):
            return False
        letter = event.copy()
        letter.profile, letter.receipt, letter.seq = profile, None, 0
        letter.headers = {**(event.headers or {}), **why}
        letter.headers.pop(SERVICE_HEADER, None)  # or those who listen to the service's events would get it as one
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: PutError | None) -> None:
            if error is not None and not accepted.done():
                accepted.set_exception(error)
            elif not accepted.done():
                accepted.set_result(None)

        self.commits.add([RoutedEvent(letter, lanes)], done)
        await accepted
        self._deliver()
        return True

    def _stored(self, event: Event, receipt: Receipt | None, route: Route, error: PutError | None) -> None:
        """Say that the lanes have an event, or why they have not."""
        if error is None:
            if receipt is not None:
                receipt.accept(route.names)
            return
        self.rejected += 1
        if receipt is not None and not receipt.withdrawn:
            receipt.refuse(error)
        else:
            self.report(Failure(error, event))

    def _no_match(self, event: Event) -> None:
        self.unmatched += 1
        if event.profile not in self._unmatched_names and not event.quiet:
            if len(self._unmatched_names) < NAMES_REMEMBERED:
                self._unmatched_names.add(event.profile)
            names = ", ".join(entry.lane.name for entry in self.router.entries[:10]) or "none"
            log.warning(
                "no profile matches %r, so its events go nowhere (logged once); profiles: %s."
                " Add a profile of that name, or a pattern that matches it, to the credentials",
                event.profile,
                names,
            )
