"""Invokers call application code: what all kinds of them share, and the one that calls an event handler."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from evbus_like.engine.cloudevents import MARKS
from evbus_like.engine.errors import Refused
from evbus_like.engine.expiry import EXPIRES, expired
from evbus_like.engine.foreign import ends
from evbus_like.engine.handling import Handling, handling
from evbus_like.engine.middleware import EVENT, MiddlewareMessage
from evbus_like.engine.receiving.disposition import AGAIN, DEAD_LETTER, DONE, EXPIRED, UNWANTED, Disposition, failed
from evbus_like.engine.receiving.failure_log import clean_text_of, cleaned, log_handler_failure, text_of
from evbus_like.engine.receiving.handler import Handler, HandlerOptions
from evbus_like.engine.receiving.received import BadBody, BodilessEvent, ReceivedEvent
from evbus_like.engine.receiving.rules import decision
from evbus_like.engine.receiving.threads import Threads, end_forked

if TYPE_CHECKING:
    from evbus_like.engine.bus import Bus
    from evbus_like.engine.middleware import Middleware
    from evbus_like.engine.receiving.breaker import CircuitBreaker
    from evbus_like.engine.receiving.deaths import Deaths

log = logging.getLogger("evbus_like.handlers")

T = TypeVar("T")
Decode = Callable[[ReceivedEvent], Any]
Function = Callable[..., Any]
DURABLE_WITHIN = 30.0  # seconds for the events that a handler put to be delivered or stored


class Invoker(Protocol):
    """What a consumer does with each event.

    `closing` is set when the worker stops: from then on a cancelled call ends. `loop` is set to the consumer's loop.
    `call_now` handles an event without a worker task, for invokers that never wait; it is None where `call` must be
    awaited. `decode` returns the body of an event, for what looks at it before the call; None for invokers without.
    """

    handler: Handler
    options: HandlerOptions
    closing: bool
    breaker: CircuitBreaker | None
    loop: asyncio.AbstractEventLoop | None

    @property
    def decode(self) -> Decode | None:
        """Return an event's body."""

    @property
    def call_now(self) -> Callable[[ReceivedEvent], Disposition] | None:
        """Handle one event at once and return its disposition."""

    async def call(self, event: ReceivedEvent) -> Disposition:
        """Handle one event and return its disposition; raises only what stops the worker."""

    def close(self) -> None:
        """Release threads and buffers; called after the last call."""


class UserCodeInvoker(ABC, Generic[T]):
    """Calls application code for one event after another, and survives whatever that code does.

    Subclasses implement `_process`, which decodes the event and calls the code, and `_failed`, which turns its
    exception into a result. `decode` returns an event's body; `bus` is where the code puts events.
    """

    call_now: Callable[[ReceivedEvent], Disposition] | None = None
    breaker: CircuitBreaker | None = None  # of the consumer, if the handler has one
    loop: asyncio.AbstractEventLoop | None = None  # given, the current task is found in a third of the time
    deaths: Deaths | None = None  # notes of events under way that may be delivered again, if the worker keeps them

    def __init__(
        self, handler: Handler, decode: Decode, bus: Bus, max_event_bytes: int, middleware: Middleware | None = None
    ) -> None:
        self.handler = handler
        self.options = handler.options
        self.closing = False
        self.decode = decode
        self._bus = bus
        self._max_event_bytes = max_event_bytes
        self._middleware = middleware
        self._threads: Threads | None = None
        self._is_declared = bool(handler.declared)

    def _started(self, event: ReceivedEvent, current: Handling) -> Awaitable[object] | None:
        """Start the call of code that needs nothing else, and return it; None where `_process` does more."""
        return None

    def _done(self) -> T:
        """Return the result of a call that `_started` returned."""
        raise NotImplementedError

    @abstractmethod
    async def _process(self, event: ReceivedEvent, current: Handling) -> T:
        """Decode the event, pass it through the middleware and call the code, with `current.running` set."""

    @abstractmethod
    def _failed(self, event: ReceivedEvent, error: BaseException, current: Handling) -> T:
        """Log an exception and return the result."""

    async def _invoke(self, event: ReceivedEvent, current: Handling) -> T:
        """Process one event, unless it has ended its worker too often."""
        if self.deaths is None or not (event.redelivered or event.may_repeat):
            return await self._invoke_once(event, current)
        async with self.deaths.noted(self.handler.ref, event) as problem:
            if problem:
                return self._failed(event, Refused(problem), current)
            return await self._invoke_once(event, current)

    async def _invoke_once(self, event: ReceivedEvent, current: Handling) -> T:
        """Process one event in a context of its own; returns when what the code put is delivered or stored."""
        token, task = handling.set(current), asyncio.current_task(self.loop)
        try:
            call = self._started(event, current)
            if call is None:
                result = await self._process(event, current)
            else:
                await call
                result = self._done()
            if current.is_forked:
                end_forked(self.handler.ref)
            if task is not None and task.cancelling() and not self.closing:
                await clear_cancellation()
            current.done = True
            if current.receipts:
                await current.wait_until_durable(self._bus, DURABLE_WITHIN)
            return result
        except BaseException as error:  # also SystemExit: a worker outlives code that calls sys.exit
            if not isinstance(error, asyncio.CancelledError) and ends(error, task):
                raise
            if current.is_forked:
                end_forked(self.handler.ref, error)
            if not self.closing:
                await clear_cancellation()
            elif isinstance(error, asyncio.CancelledError):
                raise
            return self._failed(event, error, current)
        finally:
            current.done = True
            handling.reset(token)

    def read(self, event: ReceivedEvent) -> str:
        """Decode the body; returns what is wrong with it, or an empty string."""
        size = len(event.raw)
        if size > self._max_event_bytes:
            return f"its body is {size} bytes, more than the profile's max_event_bytes ({self._max_event_bytes})"
        if not size and isinstance(event, BodilessEvent) and (event.problem or MARKS.isdisjoint(event.headers)):
            return event.problem
        try:
            event.body = self.decode(event)
        except Exception as error:
            quotes = self.options.sensitive and getattr(error, "quotes", True)
            why = type(error).__name__ if quotes else str(error) if isinstance(error, BadBody) else text_of(error)
            return f"its body cannot be decoded ({_name_of(event.content_type)}): {why}"
        return self._check(event) if self._is_declared else ""

    def _check(self, event: ReceivedEvent) -> str:
        """Check a decoded body against what was declared; returns what is wrong with it, or an empty string."""
        return ""

    async def _pass(self, message: MiddlewareMessage, event: ReceivedEvent, current: Handling) -> bool:
        """Pass a message through the incoming middleware; returns whether one answered it. Raises Refused."""
        assert self._middleware is not None
        await self._middleware.incoming(message)
        if message.headers != event.headers:
            event.headers = message.headers
            current.carry(event)
        return message.is_answered

    async def _run(
        self, function: Function, is_async: bool, timeout: float | None, /, *args: Any, **kwargs: Any
    ) -> Any:
        """Call the code, a sync function in a thread; raises TimeoutError after `timeout` seconds."""
        if not is_async:
            if self._threads is None:
                self._threads = Threads(self.options.max_workers, self.handler.ref)
            await self._threads.room()
            function = partial(self._threads.call, function)
        if timeout is None:
            return await function(*args, **kwargs)
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await function(*args, **kwargs)
        except TimeoutError as error:
            if not limit.expired():  # the code's own
                raise
            raise TimeoutError(f"not done within its timeout of {timeout:g} s") from error

    def close(self) -> None:
        """Release the threads; a function that never returns keeps its thread until the process ends."""
        if self._threads is not None:
            self._threads.close()


class HandlerInvoker(UserCodeInvoker[Disposition]):
    """Calls an event handler; what it raises becomes a disposition by the handler's rules and its `on_error`."""

    def __init__(
        self, handler: Handler, decode: Decode, bus: Bus, max_event_bytes: int, middleware: Middleware | None = None
    ) -> None:
        super().__init__(handler, decode, bus, max_event_bytes, middleware)
        self._where = self.options.where
        self._name = f"{handler.service}.{handler.name}"
        self._looks_at_it = middleware is not None or self._where is not None
        # Each coroutine around the handler's own costs a tenth of a microsecond, and an event of 8 had seven.
        ways = ("_process", "_call", "_run")
        its_own = all(getattr(type(self), way) is getattr(HandlerInvoker, way) for way in ways)
        self._is_plain = its_own and handler.is_async and self.options.timeout is None and not self._looks_at_it

    def call(self, event: ReceivedEvent) -> Coroutine[Any, Any, Disposition]:
        """Handle one event, unless it has expired."""
        if event.headers and EXPIRES in event.headers and expired(event.headers, time()):
            return _expired()
        current = Handling(event, self._name)
        return self._invoke_once(event, current) if self.deaths is None else self._invoke(event, current)

    def _started(self, event: ReceivedEvent, current: Handling) -> Awaitable[object] | None:
        if not self._is_plain or self.read(event):  # then `_process` reads it again, and says what is wrong
            return None
        current.running = True
        return cast(Awaitable[object], self.handler.call(event))

    def _done(self) -> Disposition:
        return DONE if self.breaker is None else self._succeeded()

    async def _process(self, event: ReceivedEvent, current: Handling) -> Disposition:
        if problem := self.read(event):
            return self._unreadable(event, problem)
        if self._looks_at_it and (early := await self._look(event, current)) is not None:
            return early
        return await self._call(event, current)

    async def _call(self, event: ReceivedEvent, current: Handling) -> Disposition:
        current.running = True
        await self._run(self.handler.call, self.handler.is_async, self.options.timeout, event)
        return self._done()

    def _succeeded(self) -> Disposition:
        assert self.breaker is not None
        self.breaker.succeeded()
        return DONE

    def _unreadable(self, event: ReceivedEvent, problem: str) -> Disposition:
        log.error("%s cannot handle %s: %s; it becomes a dead letter", self.handler.ref, event, problem)
        return Disposition(DEAD_LETTER, reason=problem)

    async def _look(self, event: ReceivedEvent, current: Handling) -> Disposition | None:
        """Pass an event through the middleware and the handler's filter; returns what becomes of it without a call."""
        if self._middleware is not None:
            message = MiddlewareMessage(EVENT, event.service, event.routing_key, event.body, event.headers, event)
            if await self._pass(message, event, current):
                return DONE
            event.body = message.body
        if self._where is not None:
            current.running = True  # what it raises is an error of the handler
            if not self._where(event.headers, event.body):
                return UNWANTED
        return None

    def _check(self, event: ReceivedEvent) -> str:
        declared = self.handler.declared.get(event.routing_key)
        if declared is not None and not isinstance(event, BodilessEvent):
            try:
                event.body = declared.check(event.body)
            except Exception as error:
                return f"its body is not as declared: {cleaned(str(error), event.body, event.raw, self.options)}"
        return ""

    def _failed(self, event: ReceivedEvent, error: BaseException, current: Handling) -> Disposition:
        if not current.running:
            cancelled = isinstance(error, asyncio.CancelledError)
            reason = (
                "a middleware was cancelled"
                if cancelled
                else f"refused: {clean_text_of(error, event.body, event.raw, self.options)}"
            )
            log.error("%r does not reach %s and becomes a dead letter: %s", event, self.handler.ref, reason)
            return Disposition(DEAD_LETTER, reason=reason)
        options, decided = self.options, decision(error)
        if self.breaker is not None:
            self.breaker.failed(event, decided or error)
            if self.breaker.is_free(event):
                text = clean_text_of(error, event.body, event.raw, options)
                disposition = Disposition(AGAIN, reason=text)
                log_handler_failure(self.handler.ref, options, event, error, disposition, text, options.policy())
                return disposition
        if decided is not None and (decided.reason or decided.__cause__ is None):
            text = cleaned(decided.reason or f"evbus.{type(decided).__name__}", event.body, event.raw, options)
        else:
            cause = error if decided is None or decided.__cause__ is None else decided.__cause__
            text = clean_text_of(cause, event.body, event.raw, options)
        policy = options.policy(decided or error)
        disposition = failed(policy, event.attempt, text, decided)
        log_handler_failure(self.handler.ref, options, event, decided or error, disposition, text, policy)
        return disposition


async def _expired() -> Disposition:
    return EXPIRED


async def clear_cancellation() -> None:
    """Undo a cancellation of the current task by the code that it called: the task has other events to handle."""
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)  # the cancellation is raised here if it is still to come
    while task.cancelling():
        task.uncancel()


def _name_of(content_type: str) -> str:
    """Return a content type, which a stranger wrote, as a log may show it."""
    shown = content_type[:100] or "no content type"
    return shown if shown.isascii() and shown.isprintable() else ascii(shown)
