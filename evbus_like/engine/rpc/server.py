"""A server: calls the methods of one service with the requests that arrive, and answers them."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from evbus_like.engine.consuming.caller import SAFE_WITHIN, Decode
from evbus_like.engine.consuming.consequences import safe
from evbus_like.engine.consuming.handler import Handler, HandlerOptions
from evbus_like.engine.consuming.received import ReceivedEvent
from evbus_like.engine.consuming.sensitive import shown
from evbus_like.engine.consuming.verdict import BACK, DONE, Verdict
from evbus_like.engine.errors import BadRequest, MethodNotFound, RpcError, UnserializableValue
from evbus_like.engine.handling import Handling, handling
from evbus_like.engine.rpc import wire
from evbus_like.engine.rpc.letter import Letter
from evbus_like.engine.rpc.method import Method
from evbus_like.engine.rpc.post import Post
from evbus_like.engine.rpc.transfer import Transfer

if TYPE_CHECKING:
    from evbus_like.engine.bus import Bus

log = logging.getLogger("evbus_like.rpc")

Dump = Callable[[Any], bytes]


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
        dump: Dump,
        bus: Bus,
        post: Post,
        exchange: str,
        max_workers: int,
        max_event_bytes: int,
    ) -> None:
        self.service = service
        self.options = HandlerOptions(service, (f"{service}.*",), max_workers=max_workers)
        self.handler = Handler(f"service {service}", service, "requests", self.call, True, self.options)
        self._methods = methods
        self._decode = decode
        self._dump = dump
        self._bus = bus
        self._post = post
        self._exchange = exchange
        self._max_event_bytes = max_event_bytes
        self._threads: ThreadPoolExecutor | None = None

    async def call(self, event: ReceivedEvent) -> Verdict:
        """Answer one request."""
        name = event.routing_key.rpartition(".")[2]
        under_way = Handling(event, f"{self.service}.{name}")
        token = handling.set(under_way)
        try:
            body = await self._answer(event, name)
            under_way.done = True
            if under_way.receipts:
                await safe(self._bus, under_way.receipts, SAFE_WITHIN)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # the worker ends; the request comes again
                raise
            body = self._dump(wire.refusal(asyncio.CancelledError("the method was cancelled")))
        except (Exception, SystemExit) as error:
            body = self._dump(wire.refusal(error))
        finally:
            under_way.done = True
            handling.reset(token)
        return await self._reply(event, body, under_way)

    async def _answer(self, event: ReceivedEvent, name: str) -> bytes | Transfer:
        method = self._methods.get(name)
        begun = time.monotonic()
        try:
            args, kwargs = self._read(event)
            if method is None:
                raise MethodNotFound(f"the service {self.service!r} has no method {name!r}")
            if event.redelivered and not method.repeat:
                raise RpcError(f"{self.service}.{name} may have run before, and is not to be repeated")
            method.bind(args, kwargs)
            async with asyncio.timeout(method.timeout):
                result = await self._run(method, args, kwargs)
        except asyncio.CancelledError:
            raise
        except (Exception, SystemExit) as error:
            self._tell(event, name, method, error, time.monotonic() - begun)
            return self._dump(wire.refusal(error))
        if isinstance(result, Transfer):
            return result
        try:
            return self._dump(wire.answer(result))
        except Exception as error:
            return self._dump(wire.refusal(UnserializableValue(f"the result of {self.service}.{name}: {error}")))

    def _read(self, event: ReceivedEvent) -> tuple[list[Any], dict[str, Any]]:
        if len(event.raw) > self._max_event_bytes:
            raise BadRequest(f"the request is {len(event.raw)} bytes, more than {self._max_event_bytes}")
        try:
            event.body = self._decode(event)
        except Exception as error:
            raise BadRequest(f"the request cannot be decoded: {type(error).__name__}: {error}") from None
        return wire.arguments(event.body)

    async def _run(self, method: Method, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if method.is_async:
            return await method.call(*args, **kwargs)
        if self._threads is None:
            name = f"evbus_like {self.service}"
            self._threads = ThreadPoolExecutor(self.options.max_workers, thread_name_prefix=name)
        run = contextvars.copy_context().run
        call = lambda: run(method.call, *args, **kwargs)  # noqa: E731 - run_in_executor takes no keywords
        result = await asyncio.get_running_loop().run_in_executor(self._threads, call)
        return await result if inspect.isawaitable(result) else result

    async def _reply(self, event: ReceivedEvent, body: bytes | Transfer, under_way: Handling) -> Verdict:
        """Send the answer, or the request on; nobody may want the answer, as with a cast."""
        if isinstance(body, Transfer):
            letter = self._onward(event, body, under_way)
        elif not event.reply_to:
            return DONE
        else:
            id = uuid.uuid4().hex
            letter = Letter(self._exchange, event.reply_to, body, id, event.correlation_id, headers=under_way.headers)
        try:
            async with asyncio.timeout(SAFE_WITHIN):
                await self._post.put(letter)
        except Exception as error:
            log.warning("the answer of %s to %r was not sent: %s", self.service, event, error)
            return Verdict(BACK, reason=str(error))
        return DONE

    def _onward(self, event: ReceivedEvent, to: Transfer, under_way: Handling) -> Letter:
        body = self._dump(wire.request(to.args, to.kwargs))
        id, key = uuid.uuid4().hex, f"{to.service}.{to.method}"
        return Letter(self._exchange, key, body, id, event.correlation_id, event.reply_to, under_way.headers)

    def _tell(
        self, event: ReceivedEvent, name: str, method: Method | None, error: BaseException, seconds: float
    ) -> None:
        """Tell the log: the caller's mistakes and expected exceptions in a line, others with their traceback."""
        expected = isinstance(error, (RpcError, *(method.expected_exceptions if method else ())))
        log.log(
            logging.WARNING if expected else logging.ERROR,
            "%s.%s failed after %.3f s with %s, and its caller hears of it: %s: %s",
            *(self.service, name, seconds, shown(event.body, method.sensitive if method else ("*",))),
            *(type(error).__name__, error),
            exc_info=None if expected else error,
        )

    def close(self) -> None:
        """Let go of the threads; one that never ends is left to the process."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
