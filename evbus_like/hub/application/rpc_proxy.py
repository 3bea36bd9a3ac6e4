"""`hub.rpc.<service>.<method>(...)`: proxies whose names are resolved when they are called."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from evbus_like.engine.errors import LifecycleError
from evbus_like.engine.receipt import Receipt
from evbus_like.hub.profiles import settings
from evbus_like.hub.runtime import Hub

if TYPE_CHECKING:
    from evbus_like.hub.application.rpc_clients import RpcClients

_making = threading.Lock()  # the first calls of two threads make one object


def calls(hub: Hub) -> RpcClients:
    """Return the hub's rpc clients, made when they are first needed, so that other programs start faster."""
    made: Any = hub.evbus.RUNTIME.rpc_clients
    if made is None:
        from evbus_like.hub.application.rpc_clients import RpcClients

        with _making:
            made = hub.evbus.RUNTIME.rpc_clients
            if made is None:
                made = RpcClients(hub)
                made.begin()
                hub.evbus.RUNTIME.rpc_clients = made
    clients: RpcClients = made
    return clients


def begin(hub: Hub) -> None:
    """Prepare the clients for a bus that starts; raises HandlerError if the services file is wrong."""
    if hub.evbus.RUNTIME.rpc_clients is not None:
        hub.evbus.RUNTIME.rpc_clients.begin()
    elif settings.config(hub, "services_file", ""):
        calls(hub)


def subscribed(hub: Hub, service: str, contexts: Mapping[str, Any] | None) -> str:
    """Return the source profile of a service's notifications, empty if nobody has said it; raises HandlerError."""
    if hub.evbus.RUNTIME.rpc_clients is None and not settings.config(hub, "services_file", ""):
        return ""
    return calls(hub).subscribed(service, contexts)


async def close(hub: Hub) -> None:
    """Close the clients; calls that wait fail."""
    if hub.evbus.RUNTIME.rpc_clients is not None:
        await hub.evbus.RUNTIME.rpc_clients.close()


class RpcProxy:
    """`hub.rpc`: its attributes are services."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def __getattr__(self, service: str) -> ServiceProxy:
        if service.startswith("_"):
            raise AttributeError(service)
        return ServiceProxy(self._hub, service)

    __getitem__ = __getattr__


class ServiceProxy:
    """`hub.rpc.<service>`: its attributes are methods."""

    def __init__(self, hub: Hub, service: str) -> None:
        self._hub = hub
        self._service = service

    def __getattr__(self, method: str) -> MethodProxy:
        if method.startswith("_"):
            raise AttributeError(method)
        return MethodProxy(self._hub, self._service, method)

    __getitem__ = __getattr__


class MethodProxy:
    """`hub.rpc.<service>.<method>`: call it, or one of its other forms.

    Every form but `publish` takes the method's arguments and `timeout` in seconds (None: the setting rpc_timeout). All
    raise an RpcError: RemoteError, MethodNotFound, IncorrectSignature, UnknownService, UnserializableValue, RpcTimeout,
    Refused; HandlerError if no profile leads there; LifecycleError if no bus runs. For a method's own argument called
    `timeout` use `hub.evbus.rpc.call`.
    """

    def __init__(self, hub: Hub, service: str, method: str) -> None:
        self._hub = hub
        self._service = service
        self._method = method

    def __repr__(self) -> str:
        return f"<rpc {self._service}.{self._method}>"

    async def __call__(self, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Call the method and return its result."""
        return await calls(self._hub).call(self._service, self._method, args, kwargs, timeout)

    async def cast(self, *args: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Send the request without an answer; returns when the broker has it."""
        await calls(self._hub).call(self._service, self._method, args, kwargs, timeout, "cast")

    async def ask(self, *args: Any, timeout: float | None = None, **kwargs: Any) -> str:
        """Send the request and let handlers of the application get the answer; returns the correlation id.

        The handlers are marked by `evbus_like.handlers.on_response` and `on_error`. Returns when the broker has it.
        """
        correlation_id: str = await calls(self._hub).call(self._service, self._method, args, kwargs, timeout, "ask")
        return correlation_id

    async def publish(self, **kwargs: Any) -> Receipt:
        """Put a notification of this service and method: the event `method` of `service`."""
        profile = calls(self._hub).notifications(self._service)
        put: Receipt = await self._hub.evbus.broker.dispatch(self._service, self._method, kwargs, profile)
        return put

    def submit(self, *args: Any, timeout: float | None = None, **kwargs: Any) -> asyncio.Task[Any]:
        """Call the method in a task, to await later or to cancel."""
        return asyncio.create_task(self(*args, timeout=timeout, **kwargs), name=f"evbus_like call {self!r}")

    def sync(self, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Call from code without an event loop, such as a thread."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            going: Coroutine[Any, Any, Any] = self(*args, timeout=timeout, **kwargs)
            return asyncio.run(going)
        place = f"hub.rpc.{self._service}.{self._method}"
        raise LifecycleError(f"{place}.sync() was called in an event loop, which it would block: await {place}(...)")
