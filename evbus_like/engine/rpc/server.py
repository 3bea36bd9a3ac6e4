"""A server: calls the methods of one service with the requests that arrive, and answers them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evbus_like.engine.errors import BadRequest, MethodNotFound, Refused, RpcError
from evbus_like.engine.handling import Handling, handling
from evbus_like.engine.middleware import REQUEST, Middleware, MiddlewareMessage
from evbus_like.engine.receiving.cancellation import calm
from evbus_like.engine.receiving.disposition import Disposition
from evbus_like.engine.receiving.durable import safe
from evbus_like.engine.receiving.failure_log import traced
from evbus_like.engine.receiving.handler import Handler, HandlerOptions
from evbus_like.engine.receiving.invoker import SAFE_WITHIN, Decode
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.sensitive import redacted, shown
from evbus_like.engine.receiving.threads import Threads
from evbus_like.engine.rpc import wire
from evbus_like.engine.rpc.method import Method
from evbus_like.engine.rpc.sender import Sender
from evbus_like.engine.rpc.transfer import Transfer

if TYPE_CHECKING:
    from evbus_like.engine.bus import Bus

log = logging.getLogger("evbus_like.rpc")


class Server:
    """Answers requests to one service; it stands where a handler's Caller stands.

    A request is acknowledged when its answer is with the broker and what the method put is safe. Whatever a method
    does, its caller gets an answer, and the worker lives.
    """

    def __init__(
        self,
        service: str,
        methods: Mapping[str, Method],
        decode: Decode,
        bus: Bus,
        sender: Sender,
        max_workers: int,
        max_event_bytes: int,
        middleware: Middleware | None = None,
    ) -> None:
        self.service = service
        self.options = HandlerOptions(service, (f"{service}.*",), max_workers=max_workers)
        self.handler = Handler(f"service {service}", service, "requests", self.call, True, self.options)
        self.methods = methods
        self._decode = decode
        self._bus = bus
        self._sender = sender
        self._max_event_bytes = max_event_bytes
        self._middleware = middleware
        self._threads: Threads | None = None

    @property
    def closing(self) -> bool:
        """Whether the worker ends; whoever cancels a call means it then."""
        return self._sender.closing

    @closing.setter
    def closing(self, value: bool) -> None:
        self._sender.closing = value

    async def call(self, event: ReceivedEvent) -> Disposition:
        """Answer one request."""
        name = event.routing_key.rpartition(".")[2]
        event.id = event.id or event.correlation_id  # nameko's requests have no other
        under_way = Handling(event, f"{self.service}.{name}")
        token = handling.set(under_way)
        try:
            reply = await self._reply(event, name, under_way)
            under_way.done = True
            if under_way.receipts:
                await safe(self._bus, under_way.receipts, SAFE_WITHIN)
        except asyncio.CancelledError:
            if self.closing:  # the worker ends; the request comes again
                raise
            await calm()
            reply = wire.refusal(asyncio.CancelledError("the method was cancelled"))
        except (KeyboardInterrupt, GeneratorExit):  # the process, or the loop, ends
            raise
        except BaseException as error:
            reply = wire.refusal(error)
        finally:
            under_way.done = True
            handling.reset(token)
        return await self._sender.send(event, name, reply, under_way.headers)

    async def _reply(self, event: ReceivedEvent, name: str, under_way: Handling) -> dict[str, Any] | Transfer:
        """Give the answer's body, or where to hand the request on."""
        method, begun, running = self.methods.get(name), time.monotonic(), False
        try:
            args, kwargs = self._read(event)
            if self._middleware is not None:
                message = MiddlewareMessage(
                    REQUEST, self.service, name, {"args": args, "kwargs": kwargs}, event.headers, event
                )
                await self._middleware.incoming(message)
                if message.is_answered:
                    return wire.answer(message.answer)
                args, kwargs = wire.arguments(message.body)
                if message.headers != event.headers:
                    event.headers = message.headers
                    under_way.headers = Handling(event, f"{self.service}.{name}").headers
            if method is None:
                raise MethodNotFound(f"the service {self.service!r} has no method {name!r}")
            if event.redelivered and not method.repeat:
                raise Refused(f"{self.service}.{name} may have run before, and is not to be repeated")
            method.bind(args, kwargs)
            running = True
            result = await self._run(method, args, kwargs)
            await self._still()
        except (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            await self._still()
            self._tell(event, name, method, error, time.monotonic() - begun)
            return wire.refusal(error, own=not running)
        return result if isinstance(result, Transfer) else wire.answer(result)

    def _read(self, event: ReceivedEvent) -> tuple[list[Any], dict[str, Any]]:
        if len(event.raw) > self._max_event_bytes:
            raise BadRequest(f"the request is {len(event.raw)} bytes, more than {self._max_event_bytes}")
        try:
            event.body = self._decode(event)
        except Exception as error:
            raise BadRequest(f"the request cannot be decoded: {type(error).__name__}: {error}") from None
        return wire.arguments(event.body)

    async def _run(self, method: Method, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if method.is_async and method.timeout is None:
            return await method.call(*args, **kwargs)
        limit = asyncio.timeout(method.timeout)
        try:
            async with limit:
                if method.is_async:
                    return await method.call(*args, **kwargs)
                if self._threads is None:
                    self._threads = Threads(self.options.max_workers, self.handler.ref)
                return await self._threads.call(lambda _: method.call(*args, **kwargs), None, None)
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimeoutError(f"no end within its timeout of {method.timeout:g} s") from None

    async def _still(self) -> None:
        if not self.closing:
            await calm()

    def _tell(
        self, event: ReceivedEvent, name: str, method: Method | None, error: BaseException, seconds: float
    ) -> None:
        """Tell the log: the caller's mistakes and expected exceptions in a line, others with their traceback.

        Nothing that the method calls sensitive is in either.
        """
        hidden = method.sensitive if method else ("*",)
        expected = isinstance(error, (RpcError, *(method.expected_exceptions if method else ())))
        trace, after = traced(error, event.body, hidden) if not expected else (None, "")
        log.log(
            logging.WARNING if expected else logging.ERROR,
            "%s.%s failed after %.3f s with %s, and its caller hears of it: %s: %s%s",
            *(self.service, wire.text(name), seconds, shown(event.body, hidden), type(error).__name__),
            *(redacted(wire.text(error), event.body, hidden), after),
            exc_info=trace,
        )

    def close(self) -> None:
        """Let go of the answers under way and of the threads; one that never ends is left to the process."""
        self._sender.close()
        if self._threads is not None:
            self._threads.close()
