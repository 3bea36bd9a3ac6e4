"""A message: a request or an answer that is sent, and the buffer that sends several together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from evbus_like.engine.errors import TransientError, UnknownOutcome

Outcome = Callable[[Exception | None], None]


def new_id() -> str:
    """Return an id that nobody can guess: it tells whose answer an answer is. A UUID costs three times as much."""
    return os.urandom(16).hex()


class Message:
    """What a source sends for a call.

    It goes to `exchange` with `routing_key`. `reply_to` is the routing key of the answer, `correlation_id` tells which
    request it answers. A `must_arrive` message that no queue takes is settled with Unroutable. `expires` is in seconds:
    afterwards the message need not be delivered. `on_settled` is called with the outcome. `is_held` is set by a source:
    it says whether the source, such as RabbitMQ during an alarm, has the message and will read it later.
    """

    __slots__ = (
        "body",
        "content_type",
        "correlation_id",
        "exchange",
        "expires",
        "headers",
        "id",
        "is_held",
        "must_arrive",
        "on_settled",
        "reply_to",
        "routing_key",
    )

    def __init__(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        id: str,
        correlation_id: str = "",
        reply_to: str = "",
        headers: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        must_arrive: bool = False,
        expires: float | None = None,
    ) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.body = body
        self.id = id
        self.correlation_id = correlation_id
        self.reply_to = reply_to
        self.headers = headers
        self.content_type = content_type
        self.must_arrive = must_arrive
        self.expires = expires
        self.on_settled: Outcome | None = None
        self.is_held: Callable[[], bool] | None = None

    def settle(self, error: Exception | None) -> None:
        """Report the outcome: None if the source has the message, else an error; later calls have no effect.

        Unroutable: no queue takes it. TransientError: the source certainly does not have it. UnknownOutcome: it may.
        """
        on_settled, self.on_settled = self.on_settled, None
        if on_settled is not None:
            on_settled(error)

    def __repr__(self) -> str:  # the body may hold secrets
        return f"<Message {self.routing_key} correlation_id={self.correlation_id}>"


Send = Callable[[Sequence[Message]], Awaitable[None]]
MOST_OPEN = 100_000  # messages whose outcome the source has not reported; more are not sent


class SendBuffer:
    """Sends the messages of one iteration of the event loop together.

    `send` writes messages in order; the source settles each. A message is settled after `within` seconds at the latest,
    unless the source holds it.
    """

    def __init__(self, send: Send, name: str, within: float = 60.0) -> None:
        self._send = send
        self._name = name
        self._within = within
        self._waiting: list[Message] = []
        self._open: dict[Message, float] = {}  # with their deadlines, the earliest first
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._scheduled = False

    @property
    def open(self) -> int:
        """The number of messages that are not settled."""
        return len(self._open)

    def put(self, message: Message, outcome: Outcome) -> None:
        """Send a message; `outcome` is called once, as `Message.settle` describes."""
        if len(self._open) >= MOST_OPEN:
            outcome(TransientError(f"{self._name} has not confirmed {MOST_OPEN} messages; no more are sent"))
            return

        def settled(error: Exception | None) -> None:
            self._open.pop(message, None)
            outcome(error)

        message.on_settled = settled
        loop = asyncio.get_running_loop()
        self._open[message] = loop.time() + self._within
        self._waiting.append(message)
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._send_waiting)
            if self._timer is None:
                self._timer = loop.call_later(self._within, self._expire)

    def _send_waiting(self) -> None:
        self._scheduled = False
        messages, self._waiting = self._waiting, []
        if messages:
            task = asyncio.create_task(self._deliver(messages), name=f"evbus_like send {self._name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, messages: list[Message]) -> None:
        try:
            async with asyncio.timeout(self._within):
                await self._send(messages)
        except TimeoutError:
            _settle(messages, UnknownOutcome(f"{self._name} took no messages for {self._within:g} s"))
        except Exception as error:
            _settle(messages, error)

    def _expire(self) -> None:
        """Settle the messages whose deadline has passed."""
        self._timer, loop = None, asyncio.get_running_loop()
        now = loop.time()
        for message, deadline in list(self._open.items()):
            if deadline > now:
                break
            if message.is_held is not None and message.is_held():
                del self._open[message]
                self._open[message] = now + self._within  # as the last one
            else:
                message.settle(UnknownOutcome(f"{self._name} did not confirm the message within {self._within:g} s"))
        if self._open:
            self._timer = loop.call_at(next(iter(self._open.values())), self._expire)

    def close(self) -> None:
        """Give up the messages that are being sent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._tasks:
            task.cancel()
        self._waiting.clear()
        _settle(list(self._open), UnknownOutcome("the bus has stopped"))


def _settle(messages: Sequence[Message], error: Exception) -> None:
    for message in messages:
        message.settle(error)
