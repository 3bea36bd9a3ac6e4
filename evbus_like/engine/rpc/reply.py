"""Replies: what is sent when a method is done, its answer or the request handed on to another service."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from evbus_like.engine.errors import (
    Blocked,
    DestinationRefused,
    Refused,
    SerializeError,
    UnknownService,
    Unroutable,
    UnserializableValue,
)
from evbus_like.engine.foreign import tamed
from evbus_like.engine.message import Message, Send, SendBuffer, new_id
from evbus_like.engine.middleware import ANSWER, Middleware, MiddlewareMessage
from evbus_like.engine.receiving.disposition import DONE, PENDING, Disposition
from evbus_like.engine.receiving.invoker import DURABLE_WITHIN, clear_cancellation
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.rules import REQUEUE
from evbus_like.engine.rpc import wire
from evbus_like.engine.rpc.wire import Transfer

log = logging.getLogger("evbus_like.rpc")

Dump = Callable[[Any], bytes]
BLOCKED_PAUSE = 1.0  # seconds until a reply is sent again to a source that takes nothing for now


class ReplySender:
    """Sends what the methods of one service return; `closing` is set when the worker stops."""

    def __init__(
        self,
        service: str,
        dump: Dump,
        exchange: str,
        max_event_bytes: int,
        middleware: Middleware | None,
    ) -> None:
        self.closing = False
        self._service = service
        self._dump = dump
        self._exchange = exchange
        self._max_event_bytes = max_event_bytes
        self._middleware = middleware
        self._buffer: SendBuffer
        self._is_blocked = False  # whether replies wait for the source

    def connect(self, send: Send, name: str) -> None:
        """Send over this connection, such as that of the consumer that receives the requests."""
        self._buffer = SendBuffer(send, f"{self._service} on {name}", DURABLE_WITHIN)

    async def send(
        self, event: ReceivedEvent, method: str, reply: dict[str, Any] | Transfer, headers: dict[str, Any]
    ) -> Disposition:
        """Send an answer, or the request on if `reply` is a Transfer; a request without `reply_to` gets no answer.

        The worker does not wait for the answer to be sent: the disposition is pending until the source has it.
        """
        if isinstance(reply, Transfer):
            outcome = await self._hand_on(event, method, reply, headers)
            if not isinstance(outcome, dict):
                return self._disposition(event, outcome)
            reply = outcome
        elif self._middleware is not None:
            reply, headers = await self._pass(self._middleware, event, method, reply, headers)
        if not event.reply_to:
            return DONE
        until: asyncio.Future[Disposition] = asyncio.get_running_loop().create_future()
        self._put(event, method, reply, headers, until)
        return Disposition(PENDING, until=until)

    def _put(
        self,
        event: ReceivedEvent,
        method: str,
        reply: dict[str, Any],
        headers: dict[str, Any],
        until: asyncio.Future[Disposition],
        smaller: int = 0,
    ) -> None:
        """Send an answer; one that is refused is sent again without the context, and then as an error.

        While the source takes nothing, as RabbitMQ during an alarm, the answer waits: the method must not run again.
        """

        def settled(error: Exception | None) -> None:
            if until.done():
                return
            if isinstance(error, Blocked) and not self.closing:
                self._log_blocked(error)
                again = partial(self._put, event, method, reply, headers, until, smaller)
                asyncio.get_running_loop().call_later(BLOCKED_PAUSE, again)
                return
            self._is_blocked = self._is_blocked and error is not None
            if isinstance(error, DestinationRefused) and smaller < 2:
                problem = UnserializableValue(f"the result of {self._service}.{method} cannot be sent: {error}")
                self._put(event, method, wire.refusal(problem) if smaller else reply, {}, until, smaller + 1)
                return
            until.set_result(self._disposition(event, error))

        self._buffer.put(self._answer(event, method, reply, headers), settled)

    def _log_blocked(self, error: Exception) -> None:
        if not self._is_blocked:
            self._is_blocked = True
            log.warning("the replies of %s wait: %s", self._service, error)

    def _disposition(self, event: ReceivedEvent, error: Exception | None) -> Disposition:
        """Return what becomes of a request after its reply was sent, or could not be sent."""
        if error is None:
            return DONE
        log.warning("the reply of %s to %r was not sent: %s", self._service, event, error)
        if isinstance(error, DestinationRefused):  # as it would be the next time
            return DONE
        return Disposition(REQUEUE, reason=str(error))

    async def _pass(
        self, middleware: Middleware, event: ReceivedEvent, method: str, reply: dict[str, Any], headers: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Pass an answer through the outgoing middleware; returns its body and headers."""
        message = MiddlewareMessage(ANSWER, self._service, method, reply, headers, event)
        try:
            await middleware.outgoing(message)
            if not self.closing:
                await clear_cancellation()
        except asyncio.CancelledError:
            if self.closing:
                raise
            await clear_cancellation()
            return wire.refusal(asyncio.CancelledError("a middleware was cancelled")), headers
        except Exception as error:
            log.error("%s.%s: %s", self._service, method, error)
            return wire.refusal(error), headers
        if message.is_answered:
            return wire.answer(message.answer), dict(message.headers)
        if not isinstance(message.body, dict) or "result" not in message.body:
            kind = type(message.body).__name__
            problem = f"a middleware replaced an answer by a {kind}; an answer has a result and an error"
            log.error("%s.%s: %s", self._service, method, problem)
            return wire.refusal(Refused(problem)), headers
        return message.body, dict(message.headers)

    def _dump_answer(self, reply: dict[str, Any]) -> bytes:
        """Serialize an answer; the null of "error" would make the serializer search every result for NaN."""
        if reply.keys() != {"result", "error"} or reply["error"] is not None:
            return self._dump(reply)
        try:
            return b'{"result":%b,"error":null}' % self._dump(reply["result"])
        except SerializeError as error:
            raise SerializeError(str(error).replace("body", "body.result", 1), error.path) from None

    def _answer(self, event: ReceivedEvent, method: str, reply: dict[str, Any], headers: dict[str, Any]) -> Message:
        """Build the message of an answer; one that cannot be sent becomes an error."""
        called, problem, body = f"{self._service}.{method}", "", b""
        try:
            body = self._dump_answer(reply)
            if len(body) > self._max_event_bytes:
                problem = f"it is {len(body)} bytes, more than the profile's max_event_bytes ({self._max_event_bytes})"
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the code of a result may raise SystemExit
            problem = str(tamed(error))
        if problem:
            reply = wire.refusal(UnserializableValue(f"the result of {called}: {problem}"))
            body = self._dump(reply)
        kind = wire.ERROR if reply.get("error") is not None else wire.RESPONSE
        headers = {**headers, wire.SOURCE: called, wire.TYPE: kind}
        return Message(self._exchange, event.reply_to, body, new_id(), event.correlation_id, headers=headers)

    async def _hand_on(
        self, event: ReceivedEvent, method: str, to: Transfer, headers: dict[str, Any]
    ) -> dict[str, Any] | Exception | None:
        """Send a request on; returns the body of an error answer if that is impossible, else the message's outcome."""
        called, hops = f"{self._service}.{method}", event.headers.get(wire.HOPS)
        hops = hops + 1 if isinstance(hops, int) and hops > 0 else 1
        if hops > wire.MOST_HOPS:
            return wire.refusal(
                Refused(f"{called}: handed on {wire.MOST_HOPS} times; do services hand on in a circle?")
            )
        try:
            body = self._dump(wire.request(to.args, to.kwargs))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return wire.refusal(UnserializableValue(f"{called}, which hands the request on: {tamed(error)}"))
        message = Message(
            self._exchange,
            f"{to.service}.{to.method}",
            body,
            new_id(),
            event.correlation_id,
            event.reply_to,
            {**headers, wire.SOURCE: called, wire.HOPS: hops},
            must_arrive=True,
        )
        result = await self._sent(message)
        while isinstance(result, Blocked) and not self.closing:
            self._log_blocked(result)
            await asyncio.sleep(BLOCKED_PAUSE)
            result = await self._sent(message)
        if isinstance(result, Unroutable):
            return wire.refusal(UnknownService(f"{called} hands the request on to {to.service!r}, which nobody serves"))
        if isinstance(result, DestinationRefused):
            return wire.refusal(Refused(f"{called} cannot hand the request on to {to.service!r}: {result}"))
        return result

    async def _sent(self, message: Message) -> Exception | None:
        outcome: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

        def settled(error: Exception | None) -> None:
            if not outcome.done():
                outcome.set_result(error)

        self._buffer.put(message, settled)
        return await outcome

    def close(self) -> None:
        """Give up the replies that are being sent."""
        self._buffer.close()
