"""The client sends requests over one source, and receives their answers as a consumer of its own reply queue."""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from evbus_like.engine.errors import (
    BadRequest,
    DestinationRefused,
    RpcError,
    RpcTimeout,
    TransientError,
    UnknownService,
    Unroutable,
    UnserializableValue,
)
from evbus_like.engine.histogram import BOUNDS, Histogram
from evbus_like.engine.message import Message, SendBuffer, new_id
from evbus_like.engine.receiving.breaker import CircuitBreaker
from evbus_like.engine.receiving.consumer import Consumer
from evbus_like.engine.receiving.disposition import DONE, Disposition
from evbus_like.engine.receiving.failure_log import text_of
from evbus_like.engine.receiving.handler import Handler, HandlerOptions
from evbus_like.engine.receiving.invoker import Decode
from evbus_like.engine.receiving.received import BadBody, ReceivedEvent
from evbus_like.engine.receiving.source import Source
from evbus_like.engine.rpc.subscriptions import replies
from evbus_like.engine.waiting import GRACE, DeadlineTimer

log = logging.getLogger("evbus_like.rpc")

JSON = "application/json"
QUIET_EVERY = 0.01  # seconds between two looks, before a connection is replaced
MOST_PENDING = 100_000  # calls that wait for their answers; more are refused


@dataclass
class ClientStats:
    """Counts of a client; `late` answers came when nobody waited for them any more."""

    calls: int = 0
    answers: int = 0
    late: int = 0
    timeouts: int = 0
    answered: Histogram = field(default_factory=Histogram)  # from the request to its answer

    def as_dict(self) -> dict[str, Any]:
        """Return the stats as plain data."""
        return {**vars(self), "answered": self.answered.as_dict()}


class ReplyInvoker:
    """Gives each answer to the future of its call; answers that nobody waits for, late or forged, are dropped."""

    decode: Decode | None = None
    breaker: CircuitBreaker | None = None
    loop: asyncio.AbstractEventLoop | None = None

    def __init__(self, caller: str, decode: Decode, max_event_bytes: int) -> None:
        self.options = HandlerOptions(caller, ("replies",))
        self.handler = Handler(f"calls of {caller}", caller, "replies", self.call_now, False, self.options)
        self.closing = False
        self.stats = ClientStats()
        self.pending: dict[str, asyncio.Future[Any]] = {}  # by correlation id
        self._decode = decode
        self.max_event_bytes = max_event_bytes

    def call_now(self, event: ReceivedEvent) -> Disposition:
        """Settle the future of one call."""
        future = self.pending.get(event.correlation_id)
        if future is None or future.done():
            self.stats.late += 1
            return DONE
        self.stats.answers += 1
        if len(event.raw) > self.max_event_bytes:
            future.set_exception(BadRequest(f"the answer is {len(event.raw)} bytes, more than max_event_bytes"))
            return DONE
        try:
            future.set_result(self._decode(event))
        except Exception as error:
            reason = error if isinstance(error, BadBody) else text_of(error)
            future.set_exception(BadRequest(f"the answer cannot be decoded: {reason}"))
        return DONE

    async def call(self, event: ReceivedEvent) -> Disposition:
        """Settle the future of one call."""
        return self.call_now(event)

    def close(self) -> None:
        """Fail the calls that still wait."""
        for future in self.pending.values():
            if not future.done():
                future.set_exception(RpcTimeout("the bus was stopped before the answer came"))


class Client:
    """Calls over one source and one exchange, from one event loop; the first call subscribes to the reply queue."""

    def __init__(self, source: Source, caller: str, exchange: str, decode: Decode) -> None:
        self.source = source
        self.exchange = exchange
        self.response_queues: set[str] = set()  # queues for handlers of responses that are known to exist
        self._invoker = ReplyInvoker(caller, decode, source.max_event_bytes)
        self._pending, self.stats = self._invoker.pending, self._invoker.stats
        subscription = replies(caller, exchange)
        self._reply_to = subscription.identifier
        self._consumer = Consumer(self._invoker, source, subscription, log.error)
        self._buffer = SendBuffer(self._consumer.pool.send, source.name)
        self._consumer.before_leaving = self._until_quiet
        self._deadlines = DeadlineTimer()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._unsent = False  # whether the trouble is that a request could not be sent

    @property
    def trouble(self) -> str:
        """Why no answers can be received; empty if they can."""
        return self._consumer.stats.trouble or ("" if self._consumer.subscribed.is_set() else "not connected yet")

    @property
    def consumer(self) -> Consumer:
        """What receives the answers."""
        return self._consumer

    async def renew(self, source: Source, within: float, at_once: bool = True) -> None:
        """Call over another source, as `Consumer.renew` says; calls under way get their answers over it."""
        self.source = source
        self.response_queues.clear()
        self._invoker.max_event_bytes = source.max_event_bytes
        renewal = self._consumer.renew(source, within, at_once)
        if self._task is not None:
            await asyncio.wait([renewal], timeout=within + source.timeout)

    async def call(self, service: str, method: str, body: bytes, headers: Mapping[str, Any], timeout: float) -> Any:
        """Send a request and return the body of its answer; raises an RpcError."""
        called = f"{service}.{method}"
        deadline = await self._ready(called, body, timeout)
        begun = perf_counter()
        correlation_id = new_id()
        future = asyncio.get_running_loop().create_future()
        self._pending[correlation_id] = future
        self._send(self._message(called, body, correlation_id, self._reply_to, headers, timeout), future, service)
        try:
            await self._deadlines.wait(future, deadline)
            took, answered = perf_counter() - begun, self.stats.answered
            answered.counts[bisect_left(BOUNDS, took)] += 1  # `Histogram.add` in place: its call would cost as much
            answered.sum += took
            return future.result()
        except TimeoutError as error:
            if isinstance(error, RpcTimeout):  # set by `close`
                raise
            self.stats.timeouts += 1
            raise RpcTimeout(
                f"{called} gave no answer within {timeout:g} s, and may have run; {self.source.name}:"
                f" {self.trouble or 'connected'}. Is it slow, or are its workers gone?"
            ) from None
        finally:
            del self._pending[correlation_id]
            _retrieve(future)

    async def send(
        self,
        service: str,
        method: str,
        body: bytes,
        headers: Mapping[str, Any],
        timeout: float,
        correlation_id: str = "",
        reply_to: str = "",
    ) -> None:
        """Send a request whose answer goes nowhere, or to the queue `reply_to`; returns when the broker has it."""
        called = f"{service}.{method}"
        deadline = await self._ready(called, body, timeout)
        future = asyncio.get_running_loop().create_future()
        self._send(self._message(called, body, correlation_id, reply_to, headers, None), future, service, confirm=True)
        try:
            await self._deadlines.wait(future, deadline)
        except TimeoutError:
            self.stats.timeouts += 1
            raise RpcTimeout(
                f"{self.source.name} did not confirm the request to {called} within {timeout:g} s: {self.trouble}"
            ) from None
        finally:
            _retrieve(future)

    async def _ready(self, called: str, body: bytes, timeout: float) -> float:
        """Check a request, and wait until answers can be received; returns the deadline."""
        deadline = asyncio.get_running_loop().time() + timeout
        if self._closed:
            raise RpcError(f"{called} was not called: the bus has stopped")
        if len(body) > self.source.max_event_bytes:
            limit = self.source.max_event_bytes
            raise UnserializableValue(
                f"the request to {called} is {len(body)} bytes, more than max_event_bytes ({limit})"
            )
        if len(self._pending) >= MOST_PENDING:
            raise RpcError(f"{called} was not called: {MOST_PENDING} calls wait for their answers")
        if not self._consumer.subscribed.is_set():
            await self._subscribed(called, deadline, timeout)
        self.stats.calls += 1
        return deadline

    async def _subscribed(self, called: str, deadline: float, timeout: float) -> None:
        """Wait until answers can be received."""
        if self._task is None:
            self._task = asyncio.create_task(self._consumer.run(), name=f"evbus_like {self._consumer.name}")
        try:
            async with asyncio.timeout_at(deadline):
                await self._consumer.subscribed.wait()
        except TimeoutError:
            raise RpcTimeout(
                f"{called} was not called: {self.source.name} is not connected after {timeout:g} s: {self.trouble}"
            ) from None

    async def _until_quiet(self) -> None:
        """Wait until no request is on its way and no call waits for its answer."""
        while self._pending or self._buffer.open:  # noqa: ASYNC110 (rare; an event would cost each call something)
            await asyncio.sleep(QUIET_EVERY)

    def _send(
        self, message: Message, waiting: asyncio.Future[Any], service: str, confirm: bool = False, pause: float = 0.05
    ) -> None:
        """Send a request that somebody waits for; one that certainly was not taken is sent again after a pause."""

        def settled(error: Exception | None) -> None:
            if error is None and self._unsent:
                self._unsent = False
                if self._consumer.subscribed.is_set():
                    self._consumer.stats.trouble = ""
            if waiting.done():
                return
            if error is None:
                if confirm:
                    waiting.set_result(None)
            elif isinstance(error, Unroutable):
                waiting.set_exception(UnknownService(_nobody(service)))
            elif isinstance(error, DestinationRefused):
                waiting.set_exception(RpcError(f"{message.routing_key} was not called: {error}"))
            elif isinstance(error, TransientError):
                self._consumer.stats.trouble, self._unsent = str(error), True
                asyncio.get_running_loop().call_later(pause, retry)
            elif confirm:
                waiting.set_exception(
                    RpcError(f"the request to {message.routing_key} may or may not have arrived: {error}")
                )
            # Otherwise it may have arrived, and its answer may come before the deadline.

        def retry() -> None:
            if not waiting.done() and not self._closed:
                self._send(message, waiting, service, confirm, min(1.0, pause * 2))

        self._buffer.put(message, settled)

    def _message(
        self,
        called: str,
        body: bytes,
        correlation_id: str,
        reply_to: str,
        headers: Mapping[str, Any],
        expires: float | None,
    ) -> Message:
        id = correlation_id or new_id()
        return Message(self.exchange, called, body, id, correlation_id, reply_to, headers, JSON, True, expires)

    async def close(self) -> None:
        """Unsubscribe from the reply queue, and fail the calls that still wait."""
        self._closed = True
        if self._task is not None:
            self._consumer.stop()
            await asyncio.wait([self._task], timeout=GRACE)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._buffer.close()
        self._invoker.close()


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Retrieve an exception that nobody may await because the caller was cancelled, so that asyncio does not log it."""
    if future.done() and not future.cancelled():
        future.exception()


def _nobody(service: str) -> str:
    return f"nobody serves {service!r}: no queue takes its requests; is the service started, and its name right?"
