"""A client: sends requests over one source, and gives each answer to whoever waits for it."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evbus_like.engine.backoff import Backoff
from evbus_like.engine.deadlines import DeadlineTimer
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
from evbus_like.engine.message import Message
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.source import Source
from evbus_like.engine.rpc.send_buffer import SendBuffer
from evbus_like.engine.rpc.subscriptions import Replies, replies

log = logging.getLogger("evbus_like.rpc")

JSON = "application/json"
MOST_PENDING = 100_000  # calls that wait for their answers; more are refused


@dataclass
class Counts:
    """What a client has done; `late` answers came when nobody waited any more."""

    calls: int = 0
    answers: int = 0
    late: int = 0
    timeouts: int = 0


class Client:
    """Calls over one source and one exchange, from one event loop.

    The reply queue is subscribed to with the first call, and again after every loss. Answers that nobody waits for,
    late or forged, are counted and dropped.
    """

    def __init__(self, source: Source, caller: str, exchange: str, decode: Callable[[ReceivedEvent], Any]) -> None:
        self.source = source
        self.exchange = exchange
        self.counts = Counts()
        self.trouble = "not connected yet"
        self._decode = decode
        self._subscription: Replies = replies(caller, exchange)
        self._pending: dict[str, asyncio.Future[Any]] = {}
        self._watch = DeadlineTimer()
        self._post = SendBuffer(self._send, source.name)
        self._feed: Any = None
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.made: set[str] = set()  # queues for answers that are known to be there

    async def call(self, service: str, method: str, body: bytes, headers: Mapping[str, Any], timeout: float) -> Any:
        """Send a request and give the body of its answer; raises an RpcError."""
        called = f"{service}.{method}"
        deadline = await self._ready_for(called, body, timeout)
        correlation_id = uuid.uuid4().hex
        future = asyncio.get_running_loop().create_future()
        self._pending[correlation_id] = future
        letter = self._letter(called, body, correlation_id, self._subscription.identifier, headers, timeout)
        self._put(letter, future, service)
        try:
            await self._watch.wait(future, deadline)
            return future.result()
        except TimeoutError as error:
            if isinstance(error, RpcTimeout):  # what `close` says
                raise
            self.counts.timeouts += 1
            raise RpcTimeout(
                f"{called} gave no answer within {timeout:g} s, and may have run; {self.source.name}:"
                f" {self.trouble or 'connected'}. Is it slow, or are its workers gone?"
            ) from None
        finally:
            del self._pending[correlation_id]
            _look(future)

    async def tell(
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
        deadline = await self._ready_for(called, body, timeout)
        future = asyncio.get_running_loop().create_future()
        self._put(self._letter(called, body, correlation_id, reply_to, headers, None), future, service, confirm=True)
        try:
            await self._watch.wait(future, deadline)
        except TimeoutError:
            self.counts.timeouts += 1
            raise RpcTimeout(
                f"{self.source.name} did not confirm the request to {called} within {timeout:g} s: {self.trouble}"
            ) from None
        finally:
            _look(future)

    async def _ready_for(self, called: str, body: bytes, timeout: float) -> float:
        """Check a request, and wait until answers can be received; gives the deadline."""
        deadline = asyncio.get_running_loop().time() + timeout
        if self._closed:
            raise RpcError(f"{called} was not called: the bus has stopped")
        if len(body) > self.source.max_event_bytes:
            most = self.source.max_event_bytes
            raise UnserializableValue(
                f"the request to {called} is {len(body)} bytes, more than max_event_bytes ({most})"
            )
        if len(self._pending) >= MOST_PENDING:
            raise RpcError(f"{called} was not called: {MOST_PENDING} calls wait for their answers")
        if not self._ready.is_set():
            await self._connected(called, deadline, timeout)
        self.counts.calls += 1
        return deadline

    def _put(
        self, letter: Message, waiting: asyncio.Future[Any], service: str, confirm: bool = False, pause: float = 0.05
    ) -> None:
        """Send a request for somebody who waits; one that certainly was not taken is sent again after a pause."""

        def sent(error: Exception | None) -> None:
            if waiting.done():
                return
            if error is None:
                if confirm:
                    waiting.set_result(None)
            elif isinstance(error, Unroutable):
                waiting.set_exception(UnknownService(_nobody(service)))
            elif isinstance(error, DestinationRefused):
                waiting.set_exception(RpcError(f"{letter.routing_key} was not called: {error}"))
            elif isinstance(error, TransientError):
                self.trouble = str(error)
                asyncio.get_running_loop().call_later(pause, again)
            elif confirm:
                waiting.set_exception(
                    RpcError(f"whether the request to {letter.routing_key} arrived is not known: {error}")
                )
            # Else it may have arrived, and its answer may come before the deadline.

        def again() -> None:
            if not waiting.done() and not self._closed:
                self._put(letter, waiting, service, confirm, min(1.0, pause * 2))

        self._post.put(letter, sent)

    def _letter(
        self,
        called: str,
        body: bytes,
        correlation_id: str,
        reply_to: str,
        headers: Mapping[str, Any],
        expires: float | None,
    ) -> Message:
        id = correlation_id or uuid.uuid4().hex
        return Message(self.exchange, called, body, id, correlation_id, reply_to, headers, JSON, True, expires)

    async def _connected(self, called: str, deadline: float, timeout: float) -> None:
        """Wait until answers can be received."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"evbus_like replies {self.source.name}")
        try:
            async with asyncio.timeout_at(deadline):
                await self._ready.wait()
        except TimeoutError:
            raise RpcTimeout(
                f"{called} was not called: {self.source.name} is not there after {timeout:g} s: {self.trouble}"
            ) from None

    async def _run(self) -> None:
        """Receive answers, over one feed after another."""
        backoff, told = Backoff(0.1, 5.0), ""
        while True:
            feed = None
            try:
                async with asyncio.timeout(self.source.timeout):
                    feed = await self.source.subscribe(self._subscription)
                self._feed, self.trouble, told = feed, "", ""
                self._ready.set()
                backoff.reset()
                await self._receive(feed)
            except Exception as error:
                self.trouble = str(error) or type(error).__name__
                if self.trouble != told:  # the same is not logged at every try
                    log.warning("%s gives no answers, trying again: %s", self.source.name, self.trouble)
                told = self.trouble
            finally:
                self._ready.clear()
                self._feed = None
                if feed is not None:
                    await self._leave(feed)
            await asyncio.sleep(backoff.next())

    async def _leave(self, feed: Any) -> None:
        try:
            async with asyncio.timeout(self.source.timeout):
                await self.source.unsubscribe(feed)
        except Exception as error:
            log.debug("the reply queue of %s was not left: %s", self.source.name, error)

    async def _receive(self, feed: Any) -> None:
        while True:
            events = await self.source.receive(feed)
            if not events:  # against the contract; a source that does so must not hold up the loop
                await asyncio.sleep(0.01)
            for event in events:
                self._take(event)
            async with asyncio.timeout(self.source.timeout):
                await self.source.ack(feed, events)

    def _take(self, event: ReceivedEvent) -> None:
        future = self._pending.get(event.correlation_id)
        if future is None or future.done():
            self.counts.late += 1
            return
        self.counts.answers += 1
        if len(event.raw) > self.source.max_event_bytes:
            future.set_exception(BadRequest(f"the answer is {len(event.raw)} bytes, more than max_event_bytes"))
            return
        try:
            future.set_result(self._decode(event))
        except Exception as error:
            future.set_exception(BadRequest(f"the answer cannot be decoded: {type(error).__name__}: {error}"))

    async def _send(self, letters: Sequence[Message]) -> None:
        await self.source.send(self._feed, letters)

    async def close(self) -> None:
        """End: whoever still waits is told so."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._post.close()
        for future in self._pending.values():
            if not future.done():
                future.set_exception(RpcTimeout("the bus was stopped before the answer came"))


def _look(future: asyncio.Future[Any]) -> None:
    """Look at what nobody may have looked at, so that asyncio does not complain where the caller was cancelled."""
    if future.done() and not future.cancelled():
        future.exception()


def _nobody(service: str) -> str:
    return f"nobody serves {service!r}: no queue takes its requests; is the service started, and its name right?"
