"""A service: its methods, and the invoker that calls them with requests and answers these."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from evbus_like.engine.errors import BadRequest, IncorrectSignature, MethodNotFound, Refused, RpcError
from evbus_like.engine.handling import Handling
from evbus_like.engine.middleware import REQUEST, Middleware, MiddlewareMessage
from evbus_like.engine.receiving.disposition import Disposition
from evbus_like.engine.receiving.failure_log import cleaned, log_failure
from evbus_like.engine.receiving.handler import Handler, HandlerOptions
from evbus_like.engine.receiving.invoker import Decode, UserCodeInvoker
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.sensitive import shown
from evbus_like.engine.rpc import wire
from evbus_like.engine.rpc.reply import ReplySender
from evbus_like.engine.rpc.wire import Transfer
from evbus_like.engine.suggest import printable

if TYPE_CHECKING:
    from evbus_like.engine.bus import Bus

log = logging.getLogger("evbus_like.rpc")

P = inspect.Parameter
Reply = dict[str, Any] | Transfer  # the body of an answer, or where the request is handed on


@dataclass(frozen=True)
class Method:
    """A function that answers requests; `signature` is its own, including the hub if `has_hub`.

    `repeat` says whether a request may run again after a crash.
    """

    ref: str
    service: str
    name: str
    call: Callable[..., Any]
    is_async: bool
    signature: inspect.Signature
    has_hub: bool = True
    sensitive: tuple[str, ...] = ()
    expected_exceptions: tuple[type[BaseException], ...] = ()
    timeout: float | None = None
    repeat: bool = True
    accept: tuple[str, ...] = ()
    log_bodies: bool = False  # a setting, not an option of the mark

    @cached_property
    def _parameters(self) -> list[inspect.Parameter]:
        return list(self.signature.parameters.values())[1 if self.has_hub else 0 :]

    @cached_property
    def _plain(self) -> tuple[list[str], frozenset[str], frozenset[str]] | None:
        """The names of all parameters, in order and as a set, and of the required ones; None if some have no name."""
        own = self._parameters
        if any(each.kind is not P.POSITIONAL_OR_KEYWORD for each in own):
            return None
        required = frozenset(each.name for each in own if each.default is P.empty)
        return [each.name for each in own], frozenset(each.name for each in own), required

    def bind(self, args: list[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise IncorrectSignature if the method cannot be called with these arguments."""
        if self._plain is not None:  # signature.bind costs as much as the rest of a call in memory
            names, known, required = self._plain
            given = names[: len(args)]
            if len(args) <= len(names) and known >= kwargs.keys() and kwargs.keys().isdisjoint(given):
                missing = required - kwargs.keys()
                if not missing or missing.issubset(given):
                    return
        try:
            self.signature.bind(*([None] if self.has_hub else []), *args, **kwargs)
        except TypeError as error:
            raise IncorrectSignature(f"{error}; it is {self}") from None

    def named(self, body: Any) -> Any:
        """Return the body of a request with its positional arguments under their names, to search it by them."""
        try:
            wire.arguments(body)
        except BadRequest:
            return body
        names = [each.name for each in self._parameters if each.kind in (P.POSITIONAL_ONLY, P.POSITIONAL_OR_KEYWORD)]
        given = body["args"]
        return {"args": given[len(names) :], "kwargs": {**dict(zip(names, given, strict=False)), **body["kwargs"]}}

    def __str__(self) -> str:
        return f"{self.service}.{self.name}({', '.join(map(str, self._parameters))})"


class ServiceInvoker(UserCodeInvoker[Reply]):
    """Answers the requests to one service.

    A request is acknowledged when its answer is with the broker and what the method put is delivered or stored.
    Whatever a method does, its caller gets an answer, and the worker lives.
    """

    def __init__(
        self,
        service: str,
        methods: Mapping[str, Method],
        decode: Decode,
        bus: Bus,
        replies: ReplySender,
        max_workers: int,
        max_event_bytes: int,
        middleware: Middleware | None = None,
    ) -> None:
        options = HandlerOptions(service, (f"{service}.*",), max_workers=max_workers)
        handler = Handler(f"service {service}", service, "requests", self.call, True, options)
        self.service = service
        self.methods = methods
        self.replies = replies
        super().__init__(handler, decode, bus, max_event_bytes, middleware)

    @property
    def closing(self) -> bool:
        """Whether the worker stops, and the sender of replies with it."""
        return self.replies.closing

    @closing.setter
    def closing(self, value: bool) -> None:
        self.replies.closing = value

    async def call(self, event: ReceivedEvent) -> Disposition:
        """Answer one request."""
        name = event.routing_key.rpartition(".")[2]
        event.id = event.id or event.correlation_id  # requests of nameko have no id
        current = Handling(event, f"{self.service}.{name}")
        reply = await self._invoke(event, current)
        return await self.replies.send(event, name, reply, current.headers)

    async def _process(self, event: ReceivedEvent, current: Handling) -> Reply:
        try:
            return await self._answer(event, current)
        except (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # an answer too: it waits for what the method put before it failed
            if current.is_forked:  # the method forked, and this is the child
                raise
            return self._failed(event, error, current)

    async def _answer(self, event: ReceivedEvent, current: Handling) -> Reply:
        name = event.routing_key.rpartition(".")[2]
        if problem := self.read(event):
            raise BadRequest(f"the request to {self.service}.{name} cannot be used: {problem}")
        args, kwargs = wire.arguments(event.body)
        if self._middleware is not None:
            body = {"args": args, "kwargs": kwargs}
            message = MiddlewareMessage(REQUEST, self.service, name, body, event.headers, event)
            if await self._pass(message, event, current):
                return wire.answer(message.answer)
            args, kwargs = wire.arguments(message.body)
        method = self.methods.get(name)
        if method is None:
            raise MethodNotFound(f"the service {self.service!r} has no method {name!r}")
        if event.redelivered and not method.repeat:
            raise Refused(f"{self.service}.{name} may have run before, and must not run twice")
        method.bind(args, kwargs)
        current.running = True
        result = await self._run(method.call, method.is_async, method.timeout, *args, **kwargs)
        return result if isinstance(result, Transfer) else wire.answer(result)

    def _failed(self, event: ReceivedEvent, error: BaseException, current: Handling) -> Reply:
        """Log an error and return it as an answer."""
        if isinstance(error, asyncio.CancelledError):
            error = asyncio.CancelledError("the method was cancelled")
        name = event.routing_key.rpartition(".")[2]
        method = self.methods.get(name)
        options = FailureOptions(method)
        body = method.named(event.body) if method and options.sensitive else event.body
        log_failure(
            log,
            "%s failed after %.3f s%s; its caller gets the error: %s: %s",
            (
                *(printable(f"{self.service}.{wire.text(name)}"), time.monotonic() - current.started),
                *(f" with {shown(body, options.sensitive)}" if options.log_bodies else "", type(error).__name__),
                cleaned(wire.text(error), body, event.raw, options),
            ),
            error,
            body,
            event.raw,
            options,
        )
        return wire.refusal(error, own=not current.running)

    def close(self) -> None:
        """Give up the answers that are being sent, and release the threads."""
        self.replies.close()
        super().close()


class FailureOptions:
    """How failures of a method are logged: errors of its caller like expected ones."""

    def __init__(self, method: Method | None) -> None:
        self.sensitive: tuple[str, ...] = method.sensitive if method else ("*",)
        self.log_bodies = method.log_bodies if method else False
        self.expected_exceptions: tuple[type[BaseException], ...] = (
            RpcError,
            *(method.expected_exceptions if method else ()),
        )
