"""Queues whose events are given while a breaker lets them."""

from __future__ import annotations

from evbus_like.engine.receiving.breaker import TRYING, CircuitBreaker
from evbus_like.engine.receiving.keyed_queue import KeyedQueue
from evbus_like.engine.receiving.received import ReceivedEvent


class GatedQueue(KeyedQueue):
    """Gives no event while the breaker is open, and one at a time while it tries."""

    breaker: CircuitBreaker

    def next_ready(self) -> ReceivedEvent | None:
        return None  # `next` asks the breaker

    async def next(self) -> ReceivedEvent:
        while True:
            await self.breaker.wait()
            event = await super().next()
            if self.breaker.begin():
                return event
            self._ready.appendleft(event)

    @property
    def one_only(self) -> bool:
        """Whether a batch has one event, which is tried."""
        return self.breaker.state == TRYING
