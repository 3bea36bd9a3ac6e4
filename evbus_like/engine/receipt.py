"""A receipt: what `put` gives back."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from evbus_like.engine.deadlines import DeadlineTimer
from evbus_like.engine.errors import EvbusError

DELIVERED = "delivered"


class Receipt:
    """What became of one event.

    `destinations` names those that matched: empty where no profile did, None while the event is only queued.
    `outcomes` maps a destination to "delivered" or to the error that ended its tries. With `confirm="accepted"` it
    is still empty, for the event is on its way. `attempts` says how many tries a destination took, and `answers` what
    it said of the event, where it says something (Kafka: partition and offset).
    """

    __slots__ = (
        "_done",
        "_follow",
        "_refused",
        "answers",
        "attempts",
        "destinations",
        "id",
        "outcomes",
        "taken",
        "waits_for_room",
        "withdrawn",
    )

    def __init__(self, event_id: str, destinations: tuple[str, ...] | None = None, follow: bool = True) -> None:
        self.id = event_id
        self.destinations = destinations
        self.outcomes: dict[str, str | Exception] = {}
        self._refused: EvbusError | None = None
        self._follow = follow  # whether somebody waits for the delivery
        self.attempts: dict[str, int] = {}
        self.answers: dict[str, Any] = {}
        self.taken = False  # whether the event is beyond recall, though the disk may not have it yet
        self.waits_for_room = False  # whether who put the event tries again where the outbox is full
        self.withdrawn = False
        self._done: asyncio.Future[None] | None = None

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
        """The destinations that have not answered yet."""
        return tuple(name for name in self.destinations or () if name not in self.outcomes)

    # ---- the bus's side, all in the listener's loop

    def followed(self) -> Receipt | None:
        """Give what goes on with the accepted event: this, or nothing where only its acceptance was waited for."""
        return self if self._follow else None

    def accept(self, destinations: tuple[str, ...]) -> None:
        """Note which destinations the event goes to."""
        self.destinations = destinations
        self._wake()

    def refuse(self, error: EvbusError) -> None:
        """Let `wait_accepted` raise: the event was not taken."""
        self._refused = error
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    def put_again(self) -> None:
        """Forget that the event was refused, for it is put once more."""
        self._refused = None

    def withdraw(self, error: EvbusError) -> None:
        """Refuse an event that still stands in the intake queue: whoever takes it there must leave it."""
        self.withdrawn = True
        self.refuse(error)

    def settle(self, destination: str, outcome: str | Exception, attempts: int = 1, answer: Any = None) -> None:
        """Note a destination's outcome."""
        self.outcomes[destination] = outcome
        self.attempts[destination] = attempts
        if answer is not None:
            self.answers[destination] = answer
        if len(self.outcomes) == len(self.destinations or ()):
            self._wake()

    async def wait_accepted(self, watch: DeadlineTimer, deadline: float) -> None:
        """Wait until the listener has taken the event; raises its PutError, or TimeoutError at the deadline.

        A caller that leaves withdraws the event.
        """
        try:
            while self.destinations is None:
                if self._refused is not None:
                    raise self._refused
                await self._sleep(watch, deadline)
        except (asyncio.CancelledError, TimeoutError) as left:
            self.withdrawn = self.destinations is None
            if self.withdrawn or isinstance(left, asyncio.CancelledError):
                raise

    async def wait_delivered(self, watch: DeadlineTimer, deadline: float) -> None:
        """Wait until every matching destination has answered; raises TimeoutError at the deadline."""
        try:
            while self.pending:
                await self._sleep(watch, deadline)
        except TimeoutError:
            if self.pending:
                raise

    def _sleep(self, watch: DeadlineTimer, deadline: float) -> Coroutine[Any, Any, None]:
        self._done = asyncio.get_running_loop().create_future()
        return watch.wait(self._done, deadline)

    def _wake(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def __repr__(self) -> str:
        outcomes = {name: o if isinstance(o, str) else type(o).__name__ for name, o in self.outcomes.items()}
        return f"<Receipt {self.id} destinations={self.destinations} outcomes={outcomes}>"
