"""The clients of a hub's calls, one for each source and exchange, and the way to each service."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evbus_like.engine.errors import (
    BadEvent,
    BadRequest,
    DeliveryError,
    HandlerError,
    LifecycleError,
    RpcError,
    RpcTimeout,
    UnknownService,
    UnserializableValue,
)
from evbus_like.engine.event import check, header_bytes, own_headers, plain
from evbus_like.engine.foreign import tamed
from evbus_like.engine.handling import current
from evbus_like.engine.middleware import ANSWER, REQUEST, Middleware, MiddlewareMessage
from evbus_like.engine.rpc import directory, wire
from evbus_like.engine.rpc.client import Client
from evbus_like.engine.rpc.directory import REST, Route
from evbus_like.engine.rpc.subscriptions import EXCHANGE
from evbus_like.engine.suggest import did_you_mean, shown
from evbus_like.engine.waiting import YEAR, run_in_loop, wrong_timeout
from evbus_like.hub import decoding, plugins
from evbus_like.hub.profiles import settings
from evbus_like.hub.profiles.plan import pairs
from evbus_like.hub.profiles.source import PluginSource
from evbus_like.hub.profiles.sources import Sources
from evbus_like.hub.runtime import Hub
from evbus_like.hub.traced import traced

How = Literal["call", "cast", "ask"]
GRACE = 1.0  # seconds to wait for another event loop beyond a call's own timeout
LONGEST = 255  # bytes of "service.method": AMQP's routing keys


@dataclass(slots=True)  # not frozen, which would cost a call more
class CallRequest:
    """One call: the method, its arguments, the timeout in seconds, and the form of the call."""

    service: str
    method: str
    args: Any
    kwargs: Any
    timeout: float
    how: How
    headers: Mapping[str, Any] | None

    @property
    def called(self) -> str:
        """The service and its method."""
        return f"{self.service}.{self.method}"


class RpcClients:
    """The clients of a hub, and the way to each service: by the broker, by `register`, or by a services file."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._clients: dict[tuple[str, str], Client] = {}
        self._found: dict[str, Client] = {}  # by service, for the next call
        self._registered: dict[str, Route] = {}
        self._from_file: dict[str, Route] | None = None
        self._sources: Sources | None = None
        self._closed = False
        self._dump: Any = None
        self._source_name = "app"
        self._timeout = 30.0
        self.only = ""  # the profile of all calls in tests in memory

    # ---- the way to a service

    def begin(self) -> None:
        """Read the settings and the services file for a bus that starts; raises HandlerError."""
        self._from_file = services_file(self._hub)
        self._clients, self._found, self._sources, self._closed = {}, {}, None, False
        self._dump = plugins.serializer(self._hub, "json").dump
        self._source_name = str(settings.config(self._hub, "service_name", "") or "app")
        self._timeout = float(settings.config(self._hub, "rpc_timeout", 30.0))

    def register(self, service: str, **entry: Any) -> None:
        """Set how a service is reached; raises HandlerError."""
        given = {key: value for key, value in entry.items() if value}
        self._registered[service] = directory.route(service, given)
        self._found.pop(service, None)

    def route(self, service: str) -> Route:
        """Return the route of a service; raises UnknownService if there is a services file without it."""
        if self.only:
            return Route(self.only)
        found = self._registered.get(service)
        if found is None and self._from_file is not None:
            known = self._from_file
            found = known.get(service) or known.get(REST)
            if found is None:
                raise UnknownService(
                    f"the services file does not know the service {service!r}; {did_you_mean(service, known)}"
                )
        return found or Route()

    def way(self, service: str) -> tuple[PluginSource, str]:
        """Return the source and the exchange of a service; raises HandlerError if its profile cannot be used."""
        to = self.route(service)
        if self._sources is None:
            self._sources = Sources(self._hub, self._hub.evbus.RUNTIME.contexts)
        named = self._sources.named(to.profile or "default")
        found = [source for source in named if source.sends]
        if not found:
            must_send(named[0])
        if len(found) > 1:
            names = ", ".join(source.name for source in found)
            raise HandlerError(
                f"calls to {service!r} could go by {names}: say which,"
                f" hub.evbus.rpc.register({service!r}, profile={found[0].name!r})"
            )
        return found[0], to.exchange or exchange_of(found[0])

    def client(self, service: str) -> Client:
        """Return the client of a service; raises what `way` raises."""
        client = self._found.get(service)
        if client is None:
            source, exchange = self.way(service)
            key = (source.name, exchange)
            if key not in self._clients:
                decode = decoding.of_source(self._hub, source, otherwise=decoding.JSON)
                self._clients[key] = traced(Client)(source, self._source_name, exchange, decode)
            client = self._found[service] = self._clients[key]
            if len(self._found) > 10_000:
                self._found.clear()
        return client

    def notifications(self, service: str) -> str:
        """Return the event profile of a service's notifications; raises HandlerError."""
        to = self.route(service)
        if self.only:
            return "default"
        if not to.notifications:
            return to.profile.rpartition(":")[2] or "default"
        return _of_exchange(to.notifications, service, self._hub.evbus.RUNTIME.contexts)[1]

    def subscribed(self, service: str, contexts: Mapping[str, Any] | None) -> str:
        """Return the source profile of a service's notifications, empty if nothing says where they go.

        Raises HandlerError if no profile leads there.
        """
        known = {**(self._from_file or {}), **self._registered}
        to = known.get(service) or known.get(REST)
        if self.only or to is None or not to.notifications:
            return ""
        return ":".join(_of_exchange(to.notifications, service, contexts))

    # ---- calling

    async def call(
        self,
        service: str,
        method: str,
        args: Any,
        kwargs: Any,
        timeout: float | None,
        how: How = "call",
        headers: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call from any event loop; raises an RpcError."""
        if timeout is None:
            timeout = self._timeout
        _check(service, method, timeout, headers)
        engine = self._hub.evbus.RUNTIME.bus
        if engine.forked:
            raise engine.refusal("")
        if engine.loop is None or engine.state != "running" or self._closed:
            raise LifecycleError(f"{service}.{method} was called while no bus runs: await hub.evbus.init.join() first")
        own = headers and own_headers(headers)
        request = CallRequest(plain(service), plain(method), list(args), kwargs, timeout, how, own)
        going = self._go(request)
        if engine.loop is asyncio.get_running_loop():
            return await going
        return await run_in_loop(
            going,
            engine.loop,
            timeout + GRACE,
            blocked=RpcTimeout(f"the bus's event loop did not answer for {timeout:g} s; is it blocked?"),
            closed=LifecycleError(f"{service}.{method} was called after the bus's event loop was closed"),
        )

    async def _go(self, request: CallRequest) -> Any:
        client = self.client(request.service)
        if request.headers:
            _check_headers(self.way(request.service)[0], request.headers)
        under_way = current()
        headers: dict[str, Any] = {wire.SOURCE: self._source_name}
        if under_way is not None:
            headers = {**under_way.headers, wire.SOURCE: under_way.handler}
        if request.headers:
            headers.update(request.headers)
        body: Any = {"args": request.args, "kwargs": request.kwargs}
        through = self._hub.evbus.RUNTIME.middleware
        if through is None:
            return await self._send(client, request, body, headers)
        limit = asyncio.timeout(request.timeout)
        try:
            async with limit:
                return await self._through(through, client, request, body, headers)
        except TimeoutError:
            if limit.expired():
                raise RpcTimeout(
                    f"{request.called} and its middleware took longer than {request.timeout:g} s"
                ) from None
            raise

    async def _through(
        self, through: Middleware, client: Client, request: CallRequest, body: Any, headers: Mapping[str, Any]
    ) -> Any:
        """Call through the middleware, which gets the request before it is sent and the answer when it arrives."""
        message = MiddlewareMessage(REQUEST, request.service, request.method, body, headers)
        await through.outgoing(message)
        if message.is_answered:
            return message.answer
        return await self._send(client, request, message.body, message.headers, through)

    async def _send(
        self,
        client: Client,
        request: CallRequest,
        body: Any,
        headers: Mapping[str, Any],
        through: Middleware | None = None,
    ) -> Any:
        try:
            packed = self._dump(body)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the code of an argument may raise SystemExit, which would end the loop
            raise UnserializableValue(f"an argument of {request.called}: {tamed(error)}") from None
        service, method, timeout = request.service, request.method, request.timeout
        if request.how == "cast":
            return await client.send(service, method, packed, headers, timeout)
        if request.how == "ask":
            return await self._ask(client, request, packed, headers)
        answer = await client.call(service, method, packed, headers, timeout)
        if through is not None:
            message = MiddlewareMessage(ANSWER, service, method, answer, None)
            await through.incoming(message)
            if message.is_answered:
                return message.answer
            answer = message.body
        return wire.result(answer, request.called)

    async def _ask(self, client: Client, request: CallRequest, body: bytes, headers: Mapping[str, Any]) -> str:
        """Send a request whose answer goes to handlers; returns its correlation id."""
        from evbus_like.hub.application import responses  # only this form of call needs what receives

        try:
            async with asyncio.timeout(request.timeout):
                reply_to = await responses.expect(self._hub, client, request.service, request.method)
        except TimeoutError:
            raise RpcTimeout(
                f"{request.called} was not called: {client.source.name} made no queue for its answer within"
                f" {request.timeout:g} s: {client.trouble or 'no answer'}"
            ) from None
        except DeliveryError as error:
            raise RpcError(f"{request.called} was not called, its answer would have no queue: {error}") from None
        correlation_id = f"{request.called}:{uuid.uuid4().hex}"[-LONGEST:]
        await client.send(request.service, request.method, body, headers, request.timeout, correlation_id, reply_to)
        return correlation_id

    @property
    def clients(self) -> Sequence[Client]:
        """The clients that were used."""
        return list(self._clients.values())

    def forget_sources(self) -> None:
        """Look services up again: the profiles have changed."""
        self._found, self._sources = {}, None

    async def close(self) -> None:
        """Close all clients; calls that wait fail."""
        self._closed = True
        clients = self._clients
        self._clients, self._found, self._sources = {}, {}, None
        await asyncio.gather(*(client.close() for client in clients.values()))

    def status(self) -> dict[str, Any]:
        """Return the counts of each client as plain data."""
        return {
            f"{client.source.name} {client.exchange}": {
                "source": client.source.name,
                "exchange": client.exchange,
                **client.stats.as_dict(),
                "trouble": client.trouble,
            }
            for client in self._clients.values()
        }


def services_file(hub: Hub) -> dict[str, Route] | None:
    """Read the services file, None without one; raises HandlerError, which says what named the file."""
    path = str(settings.config(hub, "services_file", "") or "")
    try:
        return directory.load(path) if path else None
    except HandlerError as error:
        raise HandlerError(f"{error} ({settings.origin(hub, 'services_file')})") from None


def _of_exchange(exchange: str, service: str, contexts: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return the provider and the profile that name an exchange; raises HandlerError if none does."""
    for provider, profile, data in pairs(contexts):
        if isinstance(data, Mapping) and data.get("exchange") == exchange:
            return provider, profile
    raise HandlerError(
        f"notifications of {service!r} go to the exchange {exchange!r}, and no profile names it: give one"
        f" of RabbitMQ exchange: {exchange}"
    )


def _check(service: Any, method: Any, timeout: Any, headers: Any) -> None:
    """Raise BadRequest for an invalid call."""
    if wrong_timeout(timeout) or not timeout:
        raise BadRequest(
            f"timeout must be seconds greater than 0, at most {YEAR} (a year), not {shown(timeout)};"
            " for an argument of the method that is called"
            " timeout: hub.evbus.rpc.call(service, method, kwargs={'timeout': ...})"
        )
    for what, name in (("service", service), ("method", method)):
        if not isinstance(name, str) or not name:
            raise BadRequest(f"the {what} must be non-empty text, not {shown(name)}")
    if len(f"{service}.{method}".encode(errors="replace")) > LONGEST:
        raise BadRequest(f"{service[:40]!r}.{method[:40]!r} is longer than {LONGEST} bytes")
    if headers is not None:
        try:
            check("", "default", headers, None)
        except BadEvent as error:
            raise BadRequest(str(error)) from None


def _check_headers(source: PluginSource, headers: Mapping[str, Any]) -> None:
    """Raise BadRequest for headers that the source cannot send."""
    size, most = sum(header_bytes(*each) for each in headers.items()), source.limits.get("max_header_bytes")
    if most is not None and size > most:
        raise BadRequest(f"the headers are {size} bytes together, and {source.name} takes at most {most}")
    for name in source.limits.get("reserved_headers", ()):
        if name in headers:
            raise BadRequest(f"header {name!r} is reserved by {source.name}, which acts on it: use another name")


def must_send(source: PluginSource) -> None:
    """Raise HandlerError for a source that cannot carry calls."""
    if not source.sends:
        raise HandlerError(
            f"{source.name} cannot carry calls: an answer needs a way back to its caller, and {source.plugin.__name__}"
            " has none; use a profile of amqp or internal"
        )


def exchange_of(source: PluginSource) -> str:
    """Return the profile's exchange of calls."""
    return str(source.ctx.acct.get("rpc_exchange") or EXCHANGE)
