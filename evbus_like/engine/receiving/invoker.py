"""A caller: calls a handler with one event, and says what becomes of the event."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from evbus_like.engine.handling import Handling, handling
from evbus_like.engine.middleware import EVENT, MiddlewareMessage
from evbus_like.engine.receiving.cancellation import calm
from evbus_like.engine.receiving.disposition import DEAD, DONE, Disposition, failed
from evbus_like.engine.receiving.durable import safe
from evbus_like.engine.receiving.failure_log import tell, text_of
from evbus_like.engine.receiving.handler import Handler
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.sensitive import redacted
from evbus_like.engine.receiving.threads import Threads

if TYPE_CHECKING:
    from evbus_like.engine.bus import Bus
    from evbus_like.engine.middleware import Middleware

log = logging.getLogger("evbus_like.handlers")

Decode = Callable[[ReceivedEvent], Any]
SAFE_WITHIN = 30.0  # seconds that a handler's own events may take until they are safe


class Caller:
    """Calls one handler. `decode` gives an event's body, `bus` is where the handler puts.

    `closing` says that whoever cancels a call means it: the worker ends.
    """

    def __init__(
        self,
        handler: Handler,
        decode: Decode,
        bus: Bus,
        max_event_bytes: int,
        middleware: Middleware | None = None,
    ) -> None:
        self.handler = handler
        self.options = handler.options
        self._decode = decode
        self._bus = bus
        self._max_event_bytes = max_event_bytes
        self._middleware = middleware
        self._threads: Threads | None = None
        self.closing = False

    async def call(self, event: ReceivedEvent) -> Disposition:
        """Handle one event; whatever the handler does, this gives a verdict."""
        if problem := self._read(event):
            log.error("%s cannot take %s: %s; it goes to the dead letters", self.handler.ref, event, problem)
            return Disposition(DEAD, reason=problem)
        if self._middleware is not None and (disposition := await self._passed(event)):
            return disposition
        begun = time.monotonic()
        under_way = Handling(event, f"{self.handler.service}.{self.handler.name}")
        token = handling.set(under_way)
        try:
            await self._run(event)
            if not self.closing:
                await calm()
            under_way.done = True
            if under_way.receipts:
                await safe(self._bus, under_way.receipts, SAFE_WITHIN)
        except asyncio.CancelledError as error:
            if self.closing:
                raise
            await calm()
            return self._failed(event, error, begun)
        except (KeyboardInterrupt, GeneratorExit):  # the process, or the loop, ends
            raise
        except BaseException as error:  # SystemExit, and what libraries make of it: no reason to end a worker
            return self._failed(event, error, begun)
        finally:
            under_way.done = True
            handling.reset(token)
        return DONE

    async def _passed(self, event: ReceivedEvent) -> Disposition | None:
        """Have the middleware look at the event; gives a verdict where it goes no further."""
        assert self._middleware is not None
        message = MiddlewareMessage(EVENT, event.service, event.routing_key, event.body, event.headers, event)
        try:
            await self._middleware.incoming(message)
        except asyncio.CancelledError:
            if self.closing:
                raise
            await calm()
            return Disposition(DEAD, reason="a middleware was cancelled")
        except Exception as error:
            log.error("%r does not reach %s, and goes to the dead letters: %s", event, self.handler.ref, error)
            return Disposition(DEAD, reason=f"refused: {text_of(error)}")
        if message.is_answered:
            return DONE
        event.body, event.headers = message.body, message.headers
        return None

    async def _run(self, event: ReceivedEvent) -> None:
        if self.handler.is_async and self.options.timeout is None:
            await self.handler.call(event)
            return
        if self.handler.is_async:
            async with asyncio.timeout(self.options.timeout):
                await self.handler.call(event)
            return
        if self._threads is None:
            self._threads = Threads(self.options.max_workers, self.handler.ref)
        await self._threads.call(self.handler.call, event, self.options.timeout)

    def _read(self, event: ReceivedEvent) -> str:
        """Decode and check the body; gives what is wrong with it."""
        size = len(event.raw)
        if size > self._max_event_bytes:
            return f"its body is {size} bytes, more than the profile's max_event_bytes ({self._max_event_bytes})"
        try:
            event.body = self._decode(event)
        except Exception as error:
            why = type(error).__name__ if self.options.sensitive else text_of(error)  # which may quote the body
            return f"its body cannot be decoded ({event.content_type or 'no content type'}): {why}"
        declared = self.handler.declared.get(event.routing_key)
        if declared is not None:
            try:
                event.body = declared.check(event.body)
            except Exception as error:
                return f"its body is not as declared: {redacted(str(error), event.body, self.options.sensitive)}"
        return ""

    def _failed(self, event: ReceivedEvent, error: BaseException, begun: float) -> Disposition:
        """Decide, and tell the log."""
        if (
            isinstance(error, TimeoutError)
            and self.options.timeout
            and time.monotonic() - begun >= self.options.timeout
        ):
            text = f"no end within its timeout of {self.options.timeout:g} s"
        else:
            text = redacted(text_of(error), event.body, self.options.sensitive)
        disposition = failed(self.options, event.attempt, text)
        tell(self.handler.ref, self.options, event, error, disposition, text)
        return disposition

    def close(self) -> None:
        """Let go of the threads; one that never ends is left to the process."""
        if self._threads is not None:
            self._threads.close()
