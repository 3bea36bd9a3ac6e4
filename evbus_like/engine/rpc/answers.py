"""Answers that go to handlers: each to the one for its service, its method, and whether it is an error."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

from evbus_like.engine.errors import BadRequest
from evbus_like.engine.receiving.disposition import DONE, Disposition
from evbus_like.engine.receiving.handler import Handler, HandlerOptions
from evbus_like.engine.receiving.invoker import Caller, Decode
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.rpc import wire

log = logging.getLogger("evbus_like.rpc")

Key = tuple[str, str]  # "world.hello", and response or error


class Answers:
    """Gives each answer to its handler; it stands where a handler's Caller stands."""

    def __init__(self, service: str, callers: Mapping[Key, Caller], decode: Decode) -> None:
        workers = max((each.options.max_workers for each in callers.values()), default=1)
        self.options = HandlerOptions(service, ("answers",), max_workers=workers)
        self.handler = Handler(f"answers of {service}", service, "answers", self.call, True, self.options)
        self._callers = dict(callers)
        self._decode = decode
        self._closing = False

    @property
    def callers(self) -> Collection[Caller]:
        """Those of the handlers."""
        return self._callers.values()

    @property
    def closing(self) -> bool:
        """Whether the worker ends; so do the handlers' own callers then."""
        return self._closing

    @closing.setter
    def closing(self, value: bool) -> None:
        self._closing = value
        for caller in self._callers.values():
            caller.closing = value

    async def call(self, event: ReceivedEvent) -> Disposition:
        """Handle one answer; one that no handler is for is dropped with a line in the log."""
        kind, source = _kind(event, self._decode), _source(event)
        caller = self._callers.get((source, kind))
        if caller is None:
            log.warning("%s: no handler for the %s of %s, it is dropped: %r", self.handler.ref, kind, source, event)
            return DONE
        event.service, _, event.routing_key = source.rpartition(".")
        return await caller.call(event)

    def close(self) -> None:
        """Let go of the handlers' threads."""
        for caller in self._callers.values():
            caller.close()


def body_of(decode: Decode) -> Callable[[ReceivedEvent], Any]:
    """Give what makes of an answer what its handler gets: the result, or the facts of the error."""

    def body(event: ReceivedEvent) -> Any:
        told = decode(event)
        if not isinstance(told, Mapping) or "result" not in told:
            raise BadRequest("it is no answer: an answer has a result and an error")
        return told["result"] if told.get("error") is None else wire.facts(told["error"])

    return body


def _source(event: ReceivedEvent) -> str:
    """Give the method that answered; nameko's services do not say it, but give the correlation id back."""
    named = event.headers.get(wire.SOURCE) if ":" not in event.correlation_id else None
    return str(named or event.correlation_id.rpartition(":")[0])


def _kind(event: ReceivedEvent, decode: Decode) -> str:
    kind = event.headers.get(wire.TYPE)
    if kind in (wire.RESPONSE, wire.ERROR):
        return str(kind)
    try:
        told = decode(event)
    except Exception:  # the handler of responses says what is wrong with it
        return wire.RESPONSE
    return wire.ERROR if isinstance(told, Mapping) and told.get("error") is not None else wire.RESPONSE
