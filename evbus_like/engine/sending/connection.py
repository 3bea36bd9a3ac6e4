"""A lane's connection to its destination: opened, used and closed with deadlines, whatever the destination does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from evbus_like.engine.errors import DeliveryError, TransientError, UnknownOutcome
from evbus_like.engine.event import Event
from evbus_like.engine.failure import classify
from evbus_like.engine.foreign import raise_if_cancelled, tamed, text_of
from evbus_like.engine.sending.block import Block
from evbus_like.engine.sending.destination import Destination, Outcomes

log = logging.getLogger("evbus_like.lane")

CLOSE_TIMEOUT = 5.0  # seconds that a connection may take to close before it is abandoned


class LaneConnection:
    """Calls one destination, one call at a time; `timeout` is the profile's.

    `block` says whether the destination takes nothing for now, which suspends the deadline of a publish.
    """

    def __init__(self, name: str, destination: Destination, timeout: float) -> None:
        self.is_open = destination.publish_now is not None  # it needs no connection
        self.block = Block(timeout)
        self._name = name
        self._destination = destination
        self._timeout = timeout

    async def open(self) -> None:
        """Connect; raises a DeliveryError, or what ends the task."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._destination.open()
        except (DeliveryError, asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
            raise
        except TimeoutError as error:
            raise TransientError(f"no connection within {self._timeout:g} s") from error
        except BaseException as error:  # no event is the cause of a connection that fails
            raise classify(tamed(error), sent=False) or TransientError(text_of(tamed(error))) from error
        self.is_open = True

    async def publish(self, events: Sequence[Event]) -> Outcomes | None:
        """Publish and return the outcomes; raises UnknownOutcome if there are none in time, or what was raised."""
        try:
            async with self.block.deadline() as deadline:
                outcomes = await self._destination.publish(events)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            seconds = f"{self._timeout:g} s"
            raise UnknownOutcome(f"no answer for a batch of {len(events)} within its timeout of {seconds}") from error
        return outcomes

    async def close(self, timeout: float | None = None) -> None:
        """Close the destination; a close that fails or hangs is logged and abandoned."""
        self.is_open = False
        task = asyncio.current_task()
        try:
            async with asyncio.timeout(min(CLOSE_TIMEOUT, self._timeout) if timeout is None else timeout):
                await self._destination.close()
        except BaseException as error:
            raise_if_cancelled(task, error)
            log.info("%s: closing failed: %s", self._name, text_of(error))
        finally:
            self.block.end()  # the block ended with the connection
