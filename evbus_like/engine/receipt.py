"""A receipt: what `put` returns."""

from __future__ import annotations

import asyncio
from typing import Any

from evbus_like.engine.waiting import DeadlineTimer

DELIVERED = "delivered"


class Receipt:
    """What happened to one event.

    `destinations` names those that matched: empty if no profile matched, None while the event is only queued.
    `outcomes` maps a destination to "delivered" or to the error that ended its attempts; it is still empty after a put
    with `confirm="accepted"`. `attempts` counts the attempts for each destination, and `answers` holds what a
    destination answered, if it does (Kafka: partition and offset). `stored` is whether the caller's transaction holds
    the event: it is delivered after the commit, and after a rollback never. `schedule_id` is that of an event that is
    sent later, at `due`, in seconds since 1970: `hub.evbus.broker.cancel` takes it.
    """

    stored = False
    schedule_id = ""
    due = 0.0

    __slots__ = (
        "_done",
        "_follow",
        "_refused",
        "answers",
        "attempts",
        "destinations",
        "id",
        "irrevocable",
        "outcomes",
        "retries_when_full",
        "withdrawn",
    )

    outcomes: dict[str, str | Exception]
    attempts: dict[str, int]
    answers: dict[str, Any]

    def __init__(self, event_id: str, destinations: tuple[str, ...] | None = None, follow: bool = True) -> None:
        self.id = event_id
        self.destinations = destinations
        self._refused: Exception | None = None
        self._follow = follow  # whether something waits for the delivery
        self.irrevocable = False  # whether the event can no longer be withdrawn, though the disk may not have it yet
        self.retries_when_full = False  # whether the put tries again if the outbox is full
        self.withdrawn = False
        self._done: asyncio.Future[None] | None = None

    def __getattr__(self, name: str) -> Any:
        """Make one of the dicts when it is first used: most receipts never need one."""
        if name not in ("outcomes", "attempts", "answers"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        made: dict[str, Any] = {}
        setattr(self, name, made)
        return made

    @property
    def matched(self) -> bool:
        """Whether any profile matched."""
        return bool(self.destinations)

    @property
    def delivered(self) -> bool:
        """Whether every matching destination confirmed the event."""
        return self.matched and all(self.outcomes.get(name) == DELIVERED for name in self.destinations or ())

    @property
    def pending(self) -> tuple[str, ...]:
        """The destinations without an outcome."""
        return tuple(name for name in self.destinations or () if name not in self.outcomes)

    # ---- for the bus, in the listener's loop

    def for_delivery(self) -> Receipt | None:
        """Return the receipt if its delivery is waited for, None if only its acceptance was."""
        return self if self._follow else None

    def accept(self, destinations: tuple[str, ...]) -> None:
        """Record the destinations of the accepted event."""
        self.destinations = destinations
        self._wake()

    def refuse(self, error: Exception) -> None:
        """Let `wait_accepted` raise: the event was not accepted."""
        self._refused = error
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    def clear_refusal(self) -> None:
        """Forget a refusal, because the event is put again."""
        self._refused = None

    def withdraw(self, error: Exception) -> None:
        """Refuse an event that is still in the intake queue; it must not be admitted any more."""
        self.withdrawn = True
        self.refuse(error)

    def settle(self, destination: str, outcome: str | Exception, attempts: int = 1, answer: Any = None) -> None:
        """Record the outcome of a destination."""
        self.outcomes[destination] = outcome
        self.attempts[destination] = attempts
        if answer is not None:
            self.answers[destination] = answer
        if len(self.outcomes) == len(self.destinations or ()):
            self._wake()

    async def wait_accepted(self, deadlines: DeadlineTimer, deadline: float) -> None:
        """Wait until the event is accepted; raises its PutError, or TimeoutError at the deadline.

        A caller that times out, or is cancelled, withdraws the event.
        """
        try:
            while self.destinations is None:
                if self._refused is not None:
                    raise self._refused
                self._done = done = asyncio.get_running_loop().create_future()
                deadlines.begin(done, deadline)
                try:
                    await done
                finally:
                    deadlines.end(done)
        except (asyncio.CancelledError, TimeoutError) as left:
            self.withdrawn = self.destinations is None
            if self.withdrawn or isinstance(left, asyncio.CancelledError):
                raise

    async def wait_delivered(self, deadlines: DeadlineTimer, deadline: float) -> None:
        """Wait until every matching destination has an outcome; raises TimeoutError at the deadline."""
        try:
            while self.pending:
                self._done = asyncio.get_running_loop().create_future()
                await deadlines.wait(self._done, deadline)
        except TimeoutError:
            if self.pending:
                raise

    def _wake(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def __repr__(self) -> str:
        outcomes = {name: o if isinstance(o, str) else type(o).__name__ for name, o in self.outcomes.items()}
        return f"<Receipt {self.id} destinations={self.destinations} outcomes={outcomes}>"


class StoredReceipt(Receipt):
    """The receipt of an event that was put `within` a transaction. `destinations` are those that match now."""

    __slots__ = ()
    stored = True

    def __repr__(self) -> str:
        return f"<Receipt {self.id} stored destinations={self.destinations}>"


class ScheduledReceipt(Receipt):
    """The receipt of an event that is held until it is due. `destinations` are those that match now."""

    __slots__ = ("due", "schedule_id")

    def __init__(self, event_id: str, destinations: tuple[str, ...], due: float) -> None:
        super().__init__(event_id, destinations, follow=False)
        self.due = due
        self.schedule_id = event_id

    def __repr__(self) -> str:
        return f"<Receipt {self.id} due={self.due} destinations={self.destinations}>"


class StoredForLater(ScheduledReceipt):
    """The receipt of an event that was put `within` a transaction, with `delay` or `at`."""

    __slots__ = ()
    stored = True
