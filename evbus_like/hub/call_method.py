"""Calls methods of services without a broker, and serves made-up services, for tests."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evbus_like.engine.errors import HandlerError
from evbus_like.engine.handling import CAUSE
from evbus_like.engine.message import Message
from evbus_like.engine.receiving.group import Group
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.rpc import wire
from evbus_like.engine.rpc.reply import ReplySender
from evbus_like.engine.rpc.service import Method, ServiceInvoker
from evbus_like.engine.rpc.subscriptions import EXCHANGE
from evbus_like.engine.rpc.wire import Transfer
from evbus_like.engine.suggest import did_you_mean
from evbus_like.hub import decoding, plugins
from evbus_like.hub.application import services
from evbus_like.hub.application.handlers import kind_problem
from evbus_like.hub.call_handler import JSON, SOURCE, _count
from evbus_like.hub.profiles.sources import Sources
from evbus_like.hub.recorder import PROFILES, Recorder, Sent
from evbus_like.hub.runtime import Hub

MOST = 64 * 1024 * 1024  # bytes of a request or its answer
NOBODY = "nobody: the answer is looked at here"


@dataclass
class Reply:
    """The outcome of one call of a method: its result as the caller gets it, or where the request was handed on.

    `sent` are the events that the method put.
    """

    method: str
    result: Any = None
    transfer: Transfer | None = None
    sent: list[Sent] = field(default_factory=list)


def named(hub: Hub, wanted: Any) -> Method:
    """Return a method by its function or by "service.method"; raises HandlerError, which names similar ones."""
    found = [each for _, methods in services.found(hub).values() for each in methods.values()]
    for each in found:
        if wanted in (f"{each.service}.{each.name}", each.ref, f"hub.{each.ref}"):
            return each
        if not isinstance(wanted, str) and _is(each, wanted):
            return each
    known = [f"{each.service}.{each.name}" for each in found]
    shows = repr(wanted) if isinstance(wanted, str) else str(getattr(wanted, "__name__", wanted))
    raise HandlerError(f"there is no method {shows}; {did_you_mean(str(wanted), known)}")


def _is(method: Method, wanted: Any) -> bool:
    return getattr(method.call, "func", method.call) is getattr(wanted, "func", wanted) or method.call is wanted


async def request(
    hub: Hub,
    method: Method,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    headers: Mapping[str, Any],
    tap: Recorder,
) -> Reply:
    """Call a method as a service does and return the outcome; raises what the method raised, or an RpcError."""
    dump, failures = plugins.serializer(hub, "json").dump, []
    messages: list[Message] = []

    def noting(error: BaseException) -> None:
        failures.append(error)

    async def send(replies: Sequence[Message]) -> None:
        messages.extend(replies)
        for each in replies:
            each.settle(None)

    replies = ReplySender(method.service, dump, EXCHANGE, MOST, None)
    replies.connect(send, "memory")
    watched = replace(method, call=_watched(method, noting), expected_exceptions=(BaseException,))
    methods = {method.name: watched}
    server = ServiceInvoker(
        method.service, methods, decoding.decoder(hub, decoding.JSON), hub.evbus.RUNTIME.bus, replies, 1, MOST
    )
    called = f"{method.service}.{method.name}"
    event = ReceivedEvent(
        dump(wire.request(args, kwargs)),
        called,
        service=method.service,
        id=f"call-{os.getpid():x}-{next(_count):x}",
        headers=dict(headers),
        content_type=JSON,
    )
    event.reply_to = NOBODY
    try:
        disposition = await server.call(event)
        if disposition.until is not None:
            await disposition.until
    finally:
        server.close()
    if failures:
        raise failures[0]
    (message,) = messages
    sent = [each for each in tap.sent if each.headers.get(CAUSE) == event.id]
    body = json.loads(message.body)
    if message.must_arrive:
        service, _, name = message.routing_key.rpartition(".")
        return Reply(called, transfer=Transfer(service, name, tuple(body["args"]), body["kwargs"]), sent=sent)
    return Reply(called, wire.result(body, called), sent=sent)


def _watched(method: Method, tell: Callable[[BaseException], None]) -> Callable[..., Any]:
    """Return the method's function wrapped to report its exceptions."""

    async def call_async(*args: Any, **kwargs: Any) -> Any:
        try:
            return await method.call(*args, **kwargs)
        except BaseException as error:
            tell(error)
            raise

    def call_sync(*args: Any, **kwargs: Any) -> Any:
        try:
            return method.call(*args, **kwargs)
        except BaseException as error:
            tell(error)
            raise

    return call_async if method.is_async else call_sync


async def serve(hub: Hub, service: str, functions: Mapping[str, Callable[..., Any]], timeout: float) -> Group:
    """Serve a made-up service in memory; returns the group to stop. Raises HandlerError."""
    methods = {}
    for name, function in functions.items():
        if not callable(function) or kind_problem(function):
            raise HandlerError(f"{service}.{name} must be a function that answers, not {function!r}")
        is_async = inspect.iscoroutinefunction(function)
        signature = inspect.signature(function)
        methods[name] = Method(f"the test's {service}.{name}", service, name, function, is_async, signature, False)
    group = Group()
    (source,) = Sources(hub, PROFILES).named(SOURCE)
    group.start([services.consumer_of(hub, source, service, methods, EXCHANGE, services.WORKERS, group)])
    await group.subscribed(timeout)
    return group
