"""Responses: answers that application handlers receive, each by service, method and whether it is an error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

from evbus_like.engine.errors import BadRequest
from evbus_like.engine.receiving.breaker import CircuitBreaker
from evbus_like.engine.receiving.disposition import DONE, Disposition
from evbus_like.engine.receiving.handler import Handler, HandlerOptions
from evbus_like.engine.receiving.invoker import Decode, HandlerInvoker
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.rpc import wire

log = logging.getLogger("evbus_like.rpc")

Key = tuple[str, str]  # "world.hello", and response or error


class ResponseInvoker:
    """Passes each answer to the invoker of its handler."""

    call_now: Callable[[ReceivedEvent], Disposition] | None = None
    decode: Decode | None = None
    breaker: CircuitBreaker | None = None
    loop: asyncio.AbstractEventLoop | None = None

    def __init__(self, service: str, invokers: Mapping[Key, HandlerInvoker], decode: Decode) -> None:
        workers = max((each.options.max_workers for each in invokers.values()), default=1)
        self.options = HandlerOptions(service, ("answers",), max_workers=workers)
        self.handler = Handler(f"answers of {service}", service, "answers", self.call, True, self.options)
        self._invokers = dict(invokers)
        self._decode = decode
        self._closing = False

    @property
    def invokers(self) -> Collection[HandlerInvoker]:
        """The invokers of the handlers."""
        return self._invokers.values()

    @property
    def closing(self) -> bool:
        """Whether the worker stops, and the handlers' invokers with it."""
        return self._closing

    @closing.setter
    def closing(self, value: bool) -> None:
        self._closing = value
        for invoker in self._invokers.values():
            invoker.closing = value

    async def call(self, event: ReceivedEvent) -> Disposition:
        """Handle one answer; one without a handler is logged and dropped."""
        kind, source = _kind(event, self._decode), _source(event)
        invoker = self._invokers.get((source, kind))
        if invoker is None:
            log.warning("%s: dropped, no handler for the %s of %s: %r", self.handler.ref, kind, source, event)
            return DONE
        event.service, _, event.routing_key = source.rpartition(".")
        return await invoker.call(event)

    def close(self) -> None:
        """Release the handlers' threads."""
        for invoker in self._invokers.values():
            invoker.close()


def response_decoder(decode: Decode) -> Decode:
    """Return a function that decodes an answer into what its handler gets: the result, or the facts of the error."""

    def decode_response(event: ReceivedEvent) -> Any:
        answer = decode(event)
        if not isinstance(answer, Mapping) or "result" not in answer:
            raise BadRequest("it is not an answer: an answer has a result and an error")
        return answer["result"] if answer.get("error") is None else wire.facts(answer["error"])

    return decode_response


def _source(event: ReceivedEvent) -> str:
    """Return the method that answered; services of nameko do not send it, but return the correlation id."""
    named = event.headers.get(wire.SOURCE) if ":" not in event.correlation_id else None
    return str(named or event.correlation_id.rpartition(":")[0])


def _kind(event: ReceivedEvent, decode: Decode) -> str:
    kind = event.headers.get(wire.TYPE)
    if kind in (wire.RESPONSE, wire.ERROR):
        return str(kind)
    try:
        answer = decode(event)
    except Exception:  # the handler of responses logs what is wrong with it
        return wire.RESPONSE
    return wire.ERROR if isinstance(answer, Mapping) and answer.get("error") is not None else wire.RESPONSE
