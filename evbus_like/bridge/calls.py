"""Callers: `hub.rpc.<service>.<method>(...)`, its names resolved when it is called."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from evbus_like.bridge import defaults, plugins
from evbus_like.bridge.decoding import decoder
from evbus_like.bridge.services import exchange_of, must_send
from evbus_like.bridge.sources import Sources
from evbus_like.engine.errors import HandlerError, LifecycleError, RpcTimeout, SerializeError, UnserializableValue
from evbus_like.engine.handling import current
from evbus_like.engine.rpc import wire
from evbus_like.engine.rpc.client import Client

GRACE = 1.0  # seconds beyond a call's own timeout that another event loop's answer is waited for


class Calls:
    """The clients of a hub, one a source, and the way to each service."""

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self._clients: dict[str, Client] = {}
        self._routes: dict[str, str] = {}
        self._sources: Sources | None = None

    def register(self, service: str, profile: str) -> None:
        """Say by which profile a service is reached."""
        self._routes[service] = profile

    def client(self, service: str) -> Client:
        """Give the client that reaches a service; raises HandlerError where its profile cannot be used."""
        profile = self._routes.get(service, "default")
        if profile not in self._clients:
            if self._sources is None:
                self._sources = Sources(self._hub, self._hub.evbus.CONTEXTS)
            found = [source for source in self._sources.named(profile) if source.sends] or self._sources.named(profile)
            must_send(found[0])
            if len(found) > 1:
                names = ", ".join(source.name for source in found)
                raise HandlerError(
                    f"calls to {service!r} could go by {names}: say which,"
                    f" hub.evbus.rpc.register({service!r}, profile={found[0].name!r})"
                )
            name = str(defaults.config(self._hub, "service_name", "") or "app")
            self._clients[profile] = Client(found[0], name, exchange_of(found[0]), decoder(self._hub))
        return self._clients[profile]

    async def call(self, service: str, method: str, args: Any, kwargs: Any, timeout: float | None, cast: bool) -> Any:
        """Call from any event loop; raises an RpcError."""
        engine = self._hub.evbus.ENGINE
        if timeout is None:
            timeout = float(defaults.config(self._hub, "rpc_timeout", 30.0))
        under_way = current()
        headers = dict(under_way.headers) if under_way is not None else {}
        going = self._go(service, method, args, kwargs, timeout, cast, headers)
        if engine.loop is None or engine.state != "running":
            going.close()
            raise LifecycleError(f"{service}.{method} was called while no bus runs: await hub.evbus.init.join() first")
        if engine.loop is asyncio.get_running_loop():
            return await going
        future = asyncio.run_coroutine_threadsafe(going, engine.loop)
        try:
            async with asyncio.timeout(timeout + GRACE):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            if isinstance(error, RpcTimeout):
                raise
            raise RpcTimeout(f"the bus's event loop did not answer for {timeout:g} s; is it blocked?") from None

    async def _go(
        self, service: str, method: str, args: Any, kwargs: Any, timeout: float, cast: bool, headers: dict[str, Any]
    ) -> Any:
        client = self.client(service)
        try:
            body = plugins.serializer(self._hub, "json").dump(wire.request(args, kwargs))
        except SerializeError as error:
            raise UnserializableValue(f"an argument of {service}.{method}: {error}") from None
        send = client.cast if cast else client.call
        return await send(service, method, body, headers, timeout)

    async def close(self) -> None:
        """End all clients; callers that wait are told so."""
        clients, self._clients, self._sources = self._clients, {}, None
        await asyncio.gather(*(client.close() for client in clients.values()))

    def status(self) -> dict[str, Any]:
        """Give what each client has done, as plain data."""
        return {
            client.source.name: {**vars(client.counts), "trouble": client.trouble} for client in self._clients.values()
        }


class Callers:
    """`hub.rpc`: its attributes are services."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def __getattr__(self, service: str) -> ServiceCaller:
        if service.startswith("_"):
            raise AttributeError(service)
        return ServiceCaller(self._calls, service)


class ServiceCaller:
    """`hub.rpc.<service>`: its attributes are methods."""

    def __init__(self, calls: Calls, service: str) -> None:
        self._calls = calls
        self._service = service

    def __getattr__(self, method: str) -> MethodCaller:
        if method.startswith("_"):
            raise AttributeError(method)
        return MethodCaller(self._calls, self._service, method)


class MethodCaller:
    """`hub.rpc.<service>.<method>`: call it, or one of its other forms.

    Every form takes the method's arguments and `timeout` in seconds (None: the setting rpc_timeout). All raise an
    RpcError: RemoteError, MethodNotFound, IncorrectSignature, UnknownService, UnserializableValue, RpcTimeout.
    """

    def __init__(self, calls: Calls, service: str, method: str) -> None:
        self._calls = calls
        self._service = service
        self._method = method

    def __repr__(self) -> str:
        return f"<rpc {self._service}.{self._method}>"

    async def __call__(self, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Call the method and give its result."""
        return await self._calls.call(self._service, self._method, args, kwargs, timeout, cast=False)

    async def cast(self, *args: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Send the request, and expect no answer; returns when the broker has it."""
        await self._calls.call(self._service, self._method, args, kwargs, timeout, cast=True)

    def submit(self, *args: Any, timeout: float | None = None, **kwargs: Any) -> asyncio.Task[Any]:
        """Call the method and give a task, to await later or to cancel."""
        return asyncio.create_task(self(*args, timeout=timeout, **kwargs), name=f"evbus_like call {self!r}")

    def sync(self, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Call from plain code without an event loop, such as a thread beside the bus's."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            going: Coroutine[Any, Any, Any] = self(*args, timeout=timeout, **kwargs)
            return asyncio.run(going)
        place = f"hub.rpc.{self._service}.{self._method}"
        raise LifecycleError(f"{place}.sync() was called in an event loop, which it would block: await {place}(...)")
