"""Handing rows over to the lanes of a bus, through the routes of its profiles."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from evbus_like.engine.bus import Bus
from evbus_like.engine.errors import BadEvent, PutError
from evbus_like.engine.event import Event
from evbus_like.engine.expiry import EXPIRES
from evbus_like.postgres.held import Held
from evbus_like.postgres.in_flight import InFlight, event_of
from evbus_like.postgres.rows import Dead, Key, Row

if TYPE_CHECKING:
    from evbus_like.engine.sending.lane import Lane
    from evbus_like.engine.sending.router import Route
    from evbus_like.engine.sending.serializer import Serializer

log = logging.getLogger("evbus_like.postgres")

Convert = Callable[
    [bytes, str, "Serializer"], bytes
]  # a body, its content type, and the serializer that it should have
SHARE = 1000  # rows of one profile that are handed over at once
NAMES_REMEMBERED = 1000  # profiles that no profile matches; each is logged once


class HandOver:
    """Gives rows to lanes, holds those that must wait, and collects what became of them.

    `settled` are rows that all their lanes have delivered, or given up; `dead` those that cannot be events at all.
    """

    def __init__(self, bus: Bus, label: str, convert: Convert) -> None:
        self._bus = bus
        self._label = label
        self._convert = convert
        self.settled: list[InFlight] = []
        self.dead: list[Dead] = []
        self.held: dict[str, Held] = {}
        self._handed = self._collected = 0
        self._unmatched: set[str] = set()

    @property
    def in_lanes(self) -> int:
        """How many rows the lanes have."""
        return self._handed - self._collected - len(self.settled)

    def collect(self) -> tuple[list[InFlight], list[Dead]]:
        """Return and forget what is settled, and what is dead."""
        settled, dead = self.settled[:], self.dead
        self.settled.clear()  # the same list stays: rows have its `append`
        self._collected += len(settled)
        self.dead = []
        return settled, dead

    def put_back(self, settled: list[InFlight], dead: list[Dead]) -> None:
        """Take back what `collect` returned."""
        self.settled[:0] = settled
        self._collected -= len(settled)
        self.dead[:0] = dead

    @property
    def unmatched(self) -> int:
        """How many rows wait because no profile matches."""
        return sum(len(self.held[name]) for name in self._unmatched if name in self.held)

    def is_busy(self) -> bool:
        """Whether rows wait for a destination that works, so that it has room soon."""
        for profile, held in self.held.items():
            lanes = self._bus.admission.router.route(profile).lanes
            if held and lanes and all(lane.state == "open" or not lane.full for lane in lanes):
                return True
        return False

    def take(self, rows: Sequence[Row]) -> None:
        """Hand over rows, in order; those that must wait are held."""
        for profile, run in _runs(rows):
            held = self.held.get(profile)
            if held:
                held.add(run)
            elif (route := self._ready(profile)) is None:
                self.held.setdefault(profile, Held()).add(run)
            else:
                self._hand(route, run)
        self._deliver()

    def waiting(self) -> Iterator[tuple[str, list[Key]]]:
        """Hand over held rows whose lanes have room.

        Yields profiles, with keys whose rows must be read again for `take_again`, or else be given back.
        """
        for profile in list(self.held):
            held = self.held[profile]
            while held and (route := self._ready(profile)) is not None:
                rows = held.next_rows(SHARE)
                if rows:
                    self._hand(route, rows)
                    self._deliver()
                else:
                    yield profile, held.next_keys(SHARE)
                    break
            if not held:
                self.held.pop(profile, None)
                self._unmatched.discard(profile)

    def take_again(self, keys: Sequence[Key], rows: Sequence[Row]) -> list[Key]:
        """Hand over rows that were held by their keys, and return the keys of those that are gone."""
        found, wanted = {row[:3] for row in rows}, set(keys)
        rows = [row for row in rows if row[:3] in wanted]
        for profile, run in _runs(rows):
            if (route := self._ready(profile)) is None:
                self.held.setdefault(profile, Held()).give_back([row[:3] for row in run])
            else:
                self._hand(route, run)
        self._deliver()
        return [key for key in keys if key not in found]

    def give_back(self, profile: str, keys: Sequence[Key]) -> None:
        """Hold rows again that a closed lane has left, or that could not be read."""
        self.held.setdefault(profile, Held()).give_back(keys)

    def drop(self, parts: set[int]) -> list[Key]:
        """Forget the held rows of parts that belong to another relay, and return their keys."""
        return [key for held in self.held.values() for key in held.drop(parts)]

    def _ready(self, profile: str) -> Route | None:
        """Return the route of a profile if all its lanes have room, else None."""
        try:
            route = self._bus.admission.router.route(profile)
        except BadEvent as error:
            self._warn(profile, str(error))
            return None
        if not route.lanes:
            self._warn(profile, "no profile matches it; add one, or a pattern that matches it, to the credentials")
            return None
        for lane in route.lanes:
            if lane.full or lane.state == "closed":
                return None
        return route

    def _warn(self, profile: str, why: str) -> None:
        if profile not in self._unmatched and len(self._unmatched) < NAMES_REMEMBERED:
            self._unmatched.add(profile)
            log.warning("%s: events of profile %.100r stay in the table: %s", self._label, profile, why)

    def _hand(self, route: Route, rows: Sequence[Row]) -> None:
        """Give rows to the lanes of a route."""
        settled, count = self.settled.append, len(route.lanes)
        events: list[Event] = []
        for row in rows:
            try:
                events.append(event_of(row, count, settled))
            except ValueError as error:
                self.dead.append(Dead(row[:3], self._label, f"the row is no event: {error}", True))
        self._bus.admission.taken += len(events)
        self._handed += len(events)
        given_headers = [event.headers for event in events if event.headers is not None]
        if any(EXPIRES in headers for headers in given_headers):
            for lane in route.lanes:
                lane.look_for_expired()
        types = {event.content_type for event in events}
        for serializer, those in route.groups:
            given = events
            if route.gives_options:
                given = [_with_options(event, route, those) for event in events]
            if not types <= {serializer.content_type}:
                given = [each for event in given if (each := self._converted(event, serializer, those)) is not None]
            size = sum([len(event.body) for event in given])
            for lane in those:
                lane.extend(given, size)

    def _converted(self, event: Event, serializer: Serializer, lanes: Sequence[object]) -> Event | None:
        """Return an event in the form of other lanes; None if it has none, and is given up there."""
        if event.content_type == serializer.content_type:
            return event
        copy = event.copy()
        try:
            copy.body = self._convert(event.body, event.content_type, serializer)
        except Exception as error:  # the body is that of the program which wrote the row
            assert event.receipt is not None
            for lane in lanes:
                event.receipt.settle(lane.name, PutError(str(error)))  # type: ignore[attr-defined]
            return None
        copy.content_type = serializer.content_type
        return copy

    def _deliver(self) -> None:
        self._bus.deliver_due()


def _with_options(event: Event, route: Route, lanes: Sequence[Lane]) -> Event:
    """Return a copy of an event with what the profiles of these lanes say of its expiry and priority."""
    copy = event.copy()
    copy.headers = route.headers_for(event, event.headers, lanes)
    return copy


def _runs(rows: Sequence[Row]) -> Iterator[tuple[str, Sequence[Row]]]:
    """Yield consecutive rows of the same profile."""
    if len({row[3] for row in rows}) == 1:  # the usual case
        yield rows[0][3], rows
        return
    start = 0
    for index in range(1, len(rows) + 1):
        if index == len(rows) or rows[index][3] != rows[start][3]:
            yield rows[start][3], rows[start:index]
            start = index
