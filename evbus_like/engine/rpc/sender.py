"""A sender: what becomes of a request when its method is done, its answer or another service's request."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from typing import Any

from evbus_like.engine.errors import DestinationRefused, Refused, UnknownService, Unroutable, UnserializableValue
from evbus_like.engine.message import Message, Outcome
from evbus_like.engine.middleware import ANSWER, Middleware, MiddlewareMessage
from evbus_like.engine.receiving.cancellation import calm
from evbus_like.engine.receiving.disposition import BACK, DONE, LATER, Disposition
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.rpc import wire
from evbus_like.engine.rpc.send_buffer import SendBuffer
from evbus_like.engine.rpc.transfer import Transfer

log = logging.getLogger("evbus_like.rpc")

Dump = Callable[[Any], bytes]


class Sender:
    """Sends what the methods of one service give; `closing` as for the server."""

    def __init__(
        self,
        service: str,
        dump: Dump,
        post: SendBuffer,
        exchange: str,
        max_event_bytes: int,
        middleware: Middleware | None,
    ) -> None:
        self.closing = False
        self._service = service
        self._dump = dump
        self._post = post
        self._exchange = exchange
        self._max_event_bytes = max_event_bytes
        self._middleware = middleware

    async def send(self, event: ReceivedEvent, method: str, reply: Any, headers: dict[str, Any]) -> Disposition:
        """Send the answer, or the request on where `reply` is a Transfer; nobody may want the answer, as with a cast.

        An answer is sent while the worker goes on: the verdict comes when the source has it.
        """
        if isinstance(reply, Transfer):
            reply, error = await self._hand_on(event, method, reply, headers)
            if reply is None:
                return self._verdict(event, error)
        elif self._middleware is not None:
            reply, headers = await self._through(event, method, reply, headers)
        if not event.reply_to:
            return DONE
        until: asyncio.Future[Disposition] = asyncio.get_running_loop().create_future()

        def sent(error: Exception | None) -> None:
            if not until.done():
                until.set_result(self._verdict(event, error))

        self._post.put(self._answer(event, method, reply, headers), sent)
        return Disposition(LATER, until=until)

    def _verdict(self, event: ReceivedEvent, error: Exception | None) -> Disposition:
        """Say what becomes of a request of which something was sent; it comes again where that failed."""
        if error is None:
            return DONE
        log.warning("the answer of %s to %r was not sent: %s", self._service, event, error)
        if isinstance(error, DestinationRefused):  # it would be so again
            return DONE
        return Disposition(BACK, reason=str(error))

    async def _through(
        self, event: ReceivedEvent, method: str, reply: Any, headers: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Give the answer, and its headers, as the outgoing middleware leaves them."""
        assert self._middleware is not None
        message = MiddlewareMessage(ANSWER, self._service, method, reply, headers, event)
        try:
            await self._middleware.outgoing(message)
            if not self.closing:
                await calm()
        except asyncio.CancelledError:
            if self.closing:
                raise
            await calm()
            return wire.refusal(asyncio.CancelledError("a middleware was cancelled")), headers
        except Exception as error:
            log.error("%s.%s: %s", self._service, method, error)
            return wire.refusal(error), headers
        if message.is_answered:
            return wire.answer(message.answer), dict(message.headers)
        if not isinstance(message.body, dict) or "result" not in message.body:
            spoilt = f"a middleware made {type(message.body).__name__} of the answer, which has a result and an error"
            log.error("%s.%s: %s", self._service, method, spoilt)
            return wire.refusal(Refused(spoilt)), headers
        return message.body, dict(message.headers)

    def _answer(self, event: ReceivedEvent, method: str, reply: Any, headers: dict[str, Any]) -> Message:
        """Make the letter of an answer; one that cannot be sent becomes an error."""
        called, problem, body = f"{self._service}.{method}", "", b""
        try:
            body = self._dump(reply)
            if len(body) > self._max_event_bytes:
                problem = f"it is {len(body)} bytes, and max_event_bytes of the profile is {self._max_event_bytes}"
        except Exception as error:
            problem = str(error)
        if problem:
            reply = wire.refusal(UnserializableValue(f"the result of {called}: {problem}"))
            body = self._dump(reply)
        kind = wire.ERROR if reply.get("error") is not None else wire.RESPONSE
        headers = {**headers, wire.SOURCE: called, wire.TYPE: kind}
        return Message(self._exchange, event.reply_to, body, uuid.uuid4().hex, event.correlation_id, headers=headers)

    async def _hand_on(
        self, event: ReceivedEvent, method: str, to: Transfer, headers: dict[str, Any]
    ) -> tuple[dict[str, Any] | None, Exception | None]:
        """Send the request on; gives the body of an answer where that cannot be, and else what came of it."""
        where, hops = f"{self._service}.{method}", event.headers.get(wire.HOPS)
        hops = hops + 1 if isinstance(hops, int) and hops > 0 else 1
        if hops > wire.MOST_HOPS:
            return wire.refusal(Refused(f"{where}: handed on {wire.MOST_HOPS} times; is it in a circle?")), None
        try:
            body = self._dump(wire.request(to.args, to.kwargs))
        except Exception as error:
            return wire.refusal(UnserializableValue(f"{where}, which hands the request on: {error}")), None
        headers = {**headers, wire.SOURCE: where, wire.HOPS: hops}
        called, id = f"{to.service}.{to.method}", uuid.uuid4().hex
        letter = Message(self._exchange, called, body, id, event.correlation_id, event.reply_to, headers)
        letter.must_arrive = True
        sent: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._post.put(letter, _once(sent))
        outcome = await sent
        if isinstance(outcome, Unroutable):
            nobody = f"{where} hands the request on to {to.service!r}, which nobody serves"
            return wire.refusal(UnknownService(nobody)), None
        return None, outcome

    def close(self) -> None:
        """Give up what is under way."""
        self._post.close()


def _once(future: asyncio.Future[Exception | None]) -> Outcome:
    def told(error: Exception | None) -> None:
        if not future.done():
            future.set_result(error)

    return told
