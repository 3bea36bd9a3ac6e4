"""Events of the outbox that the lanes have: the receipt by which a row learns what became of its event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evbus_like.engine.errors import Dropped, Expired
from evbus_like.engine.event import Event
from evbus_like.engine.receipt import DELIVERED, Receipt
from evbus_like.engine.sending.lane import LaneClosed
from evbus_like.postgres import rows
from evbus_like.postgres.rows import Key, Row

_new_event = Event.__new__


class InFlight(Receipt):
    """One row whose event `left` lanes still have; `settled` is called with it when none has."""

    # The values of its key, not the tuple: the garbage collector goes over each of the objects that a row has.
    __slots__ = ("event_id", "failures", "left", "number", "part", "profile", "settled")

    part: int
    number: int  # the id of the row
    event_id: str
    profile: str
    left: int
    settled: Callable[[InFlight], object]
    failures: list[tuple[str, Exception]] | None

    @property
    def key(self) -> Key:
        """The key of the row."""
        return self.part, self.number, self.event_id

    @property
    def given_back(self) -> bool:
        """Whether a lane was closed, or dropped it: it has to be delivered again."""
        return any(isinstance(error, (LaneClosed, Dropped)) for _, error in self.failures or ())

    def settle(self, destination: str, outcome: str | Exception, attempts: int = 1, answer: Any = None) -> None:
        """Record the outcome of a destination."""
        if outcome is not DELIVERED:
            assert isinstance(outcome, Exception)
            if not isinstance(outcome, Expired):
                self.failures = [*(self.failures or ()), (destination, outcome)]
        self.left -= 1
        if not self.left:
            self.settled(self)

    def for_delivery(self) -> Receipt:
        """Return itself: its delivery is waited for."""
        return self

    def __repr__(self) -> str:
        return f"<InFlight {self.key}>"


_new_receipt = InFlight.__new__


def event_of(row: Row, left: int, settled: Callable[[InFlight], object]) -> Event:
    """Return the event of a row, for so many lanes; raises ValueError for headers that are none."""
    part, number, name, profile, service, routing_key, key, headers, content_type, body, put_at = row
    receipt = _new_receipt(InFlight)  # not the receipt's own __init__, which costs half a microsecond
    receipt.part = part
    receipt.number = number
    receipt.event_id = name
    receipt.profile = profile
    receipt.left = left
    receipt.settled = settled
    receipt.failures = None
    event = _new_event(Event)
    event.id = name
    event.profile = profile
    event.routing_key = routing_key
    event.content_type = content_type
    event.body = body
    event.headers = None if headers is None and service is None else rows.headers_of(service, headers)
    event.key = None if key is None else rows.key_of(key)
    event.quiet = False
    event.timestamp = put_at
    event.attach(receipt)
    event.packed = None
    event.seq = rows.ELSEWHERE
    event.size = 0
    return event
