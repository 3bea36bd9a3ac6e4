"""Declared events on the hub: each public function of the `event` dyne becomes a callable that puts the event."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from evbus_like.engine.errors import BadEvent, BusStopped, DeclarationError, LifecycleError, PutTimeout
from evbus_like.engine.receipt import Receipt
from evbus_like.engine.suggest import did_you_mean
from evbus_like.engine.waiting import in_event_loop, run_in_loop_and_block
from evbus_like.hub import plugins
from evbus_like.hub.application import unknown_events
from evbus_like.hub.runtime import Hub

if TYPE_CHECKING:
    from evbus_like.engine.declared.declaration import Declaration

T = TypeVar("T")
log = logging.getLogger("evbus_like.events")

GRACE = 1.0  # seconds that a blocking call waits beyond the deadline of its put, whose error says more


class DeclaredEvent:
    """One event of a service; calling it with the names of its body puts it."""

    def __init__(self, hub: Hub, declaration: Declaration | DeclarationError, where: str, profile: str) -> None:
        self._hub = hub
        self._declaration = declaration
        self.where = where  # hub.event.auth.user_created
        self.profile = profile

    @property
    def declaration(self) -> Declaration:
        """The declaration of the function; raises DeclarationError if it is wrong."""
        if isinstance(self._declaration, DeclarationError):
            raise self._declaration
        return self._declaration

    @property
    def service(self) -> str:
        """The service whose event it is."""
        return self.declaration.service

    @property
    def name(self) -> str:
        """The event's type, which is its routing key."""
        return self.declaration.name

    async def __call__(self, /, *args: Any, **given: Any) -> Receipt:
        """Put the event and return its receipt; raises what `put` raises, and BadEvent if names or types do not fit."""
        body = self.declaration.body(args, given)
        receipt: Receipt = await self._hub.evbus.broker.dispatch(self.service, self.name, body, self.profile)
        return receipt

    def nowait(self, /, *args: Any, **given: Any) -> str:
        """Put the event without waiting and return its id; raises what `put_nowait` raises, and BadEvent."""
        body = self.declaration.body(args, given)
        event_id: str = self._hub.evbus.broker.dispatch_nowait(self.service, self.name, body, self.profile)
        return event_id

    def fire(self, /, *args: Any, **given: Any) -> Receipt:
        """Put the event from code without an event loop and block; raises what the call raises, and LifecycleError.

        Before the bus runs, the event is only queued.
        """
        if in_event_loop():
            raise LifecycleError(f"fire waits, and would stop the event loop: use `await {self.where}(...)`")
        body = self.declaration.body(args, given)
        bus = self._hub.evbus.RUNTIME.bus
        if bus.state == "new":
            return Receipt(self._hub.evbus.broker.dispatch_nowait(self.service, self.name, body, self.profile))
        put = self._hub.evbus.broker.dispatch(self.service, self.name, body, self.profile)
        receipt: Receipt = wait(put, bus.loop, self._hub.evbus.RUNTIME.putter.timeout)
        return receipt

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the body."""
        from evbus_like.engine.declared import schema

        return schema.schema(self.declaration)

    def check(self, body: Any) -> dict[str, Any]:
        """Cast a received body to the hints and complete it with defaults; raises BadEvent."""
        return self.declaration.check(body)

    def __repr__(self) -> str:
        return f"<DeclaredEvent {self.where}>"


class EventRegistry:
    """The declared events of a hub by service and type, and the problems of wrong declarations."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, str], DeclaredEvent] = {}
        self.problems: list[str] = []

    def must_be_sound(self) -> None:
        """Raise one DeclarationError that names every problem."""
        if self.problems:
            many = len(self.problems) > 1
            raise DeclarationError(
                "\n  ".join(["these event declarations are wrong:", *self.problems]) if many else self.problems[0]
            )

    def add(self, event: DeclaredEvent) -> None:
        """Add an event; raises DeclarationError for a second one of the same service and type."""
        names = (event.service, event.name)
        other = self.events.setdefault(names, event)
        if other is not event:
            raise DeclarationError(
                f"{other.where} is the event {event.name!r} of the service {event.service!r} already"
            )


def bind(hub: Hub) -> EventRegistry:
    """Replace the functions of the `event` dyne by events; may be called again. Returns the registry."""
    book = hub.evbus.RUNTIME.events = EventRegistry()
    hub.pop.sub.load_all("event")  # an application may have added the folder with lazy loading
    hub.evbus.RUNTIME.broken["event"] = {**plugins.broken(hub.event), **hub.evbus.RUNTIME.broken.get("event", {})}
    for plugin, reason in hub.evbus.RUNTIME.broken["event"].items():
        book.problems.append(f"event plugin {plugin!r} could not be loaded: {reason}")
    for plugin, mod in sorted(plugins.loaded(hub, "event").items()):
        from evbus_like.engine.declared.declaration import declare  # msgspec takes a sixth of the start

        service = getattr(mod, "SERVICE", plugin)
        profile = getattr(mod, "PROFILE", "default")
        for name, function in _functions(mod):
            where = f"hub.event.{plugin}.{name}"
            declaration: Declaration | DeclarationError
            try:
                if not isinstance(profile, str):
                    raise DeclarationError(f"PROFILE must be a string, not {type(profile).__name__}")
                declaration = declare(service, name, function)
                event = DeclaredEvent(hub, declaration, where, profile)
                book.add(event)
            except DeclarationError as error:
                problem = f"{where} cannot be an event: {error}"
                book.problems.append(problem)
                event = DeclaredEvent(hub, DeclarationError(problem), where, "")
            setattr(mod, name, event)
        own = [name for name, _ in _functions(mod)]
        unknown_events.suggest(mod, f"hub.event.{plugin} has no event", own)
    unknown_events.suggest(hub.event, "hub.event has no service", plugins.loaded(hub, "event"))
    for problem in book.problems:
        log.error("%s", problem)
    return book


def _functions(mod: Any) -> Iterator[tuple[str, Any]]:
    """Yield the public functions that a plugin's file defines; pop also puts imported ones on the hub."""
    own = mod._vars.get("__name__")
    for name, contracted in sorted(mod._funcs.items()):
        function = getattr(contracted, "func", contracted)
        if not name.startswith("_") and getattr(function, "__module__", None) == own:
            yield name, function


def find(hub: Hub, service: str, event_type: str) -> DeclaredEvent | None:
    """Return the declared event of a service and a type, None if there is none."""
    found: Mapping[tuple[str, str], DeclaredEvent] = hub.evbus.RUNTIME.events.events
    return found.get((service, event_type))


def get(hub: Hub, service: str, name: str) -> DeclaredEvent:
    """Return a declared event; raises BadEvent, which names similar ones."""
    event = find(hub, service, name)
    if event is not None:
        return event
    if str(name).startswith("_"):
        raise BadEvent(f"{name!r} is no event: functions with a leading underscore are private")
    hub.evbus.RUNTIME.events.must_be_sound()
    known = hub.evbus.RUNTIME.events.events
    services = {each for each, _ in known}
    if service not in services:
        raise BadEvent(f"there is no service {service!r} with declared events; {did_you_mean(str(service), services)}")
    types = [each for of, each in known if of == service]
    raise BadEvent(f"service {service!r} has no event {name!r}; {did_you_mean(str(name), types)}")


def wait(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop | None, timeout: float) -> T:
    """Run a coroutine in the bus's loop and block this thread; `timeout` is the coroutine's own deadline in seconds."""
    return run_in_loop_and_block(
        coroutine,
        loop,
        timeout + GRACE,
        blocked=PutTimeout(f"the event loop of the bus did not answer for {timeout:g} s; is it blocked?"),
        closed=BusStopped("the event loop of the bus is closed; start the bus again"),
    )
