"""Loads the plugins of the lifespan dyne, and runs them with the bus."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

from evbus_like.engine.errors import HandlerError, LifecycleError
from evbus_like.engine.lifespan import Hook, Lifespan
from evbus_like.engine.waiting import run_in_loop
from evbus_like.hub import plugins
from evbus_like.hub.profiles import settings
from evbus_like.hub.runtime import Hub

VERBS = ("start", "ready", "stop")
TIMEOUT = 20.0  # seconds, the default of the setting lifespan_timeout
LEAST = 1.0  # seconds that a stop leaves for them, and for the events they put


def load(hub: Hub) -> Lifespan:
    """Return the hub's lifespan, in the order of the plugins' names; raises HandlerError that names every mistake."""
    plugins.add(hub, "lifespan")
    if "lifespan" not in hub.evbus.RUNTIME.broken:
        hub.evbus.RUNTIME.broken["lifespan"] = plugins.broken(hub.lifespan)
    wrong = [
        f"the lifespan plugin {name!r} could not be loaded: {reason}"
        for name, reason in hub.evbus.RUNTIME.broken["lifespan"].items()
    ]
    found = sorted(plugins.loaded(hub, "lifespan").items())
    wrong += [problem for name, plugin in found for problem in _problems(name, plugin)]
    if wrong:
        raise HandlerError("\n  ".join(wrong))
    return Lifespan([_hook(hub, name, plugin) for name, plugin in found])


def _problems(name: str, plugin: Any) -> Iterator[str]:
    there = [verb for verb in VERBS if verb in plugin._funcs]
    if not there:
        yield f"the lifespan plugin {name!r} has none of start(hub), ready(hub) and stop(hub)"
    for verb in there:
        function = plugin._funcs[verb].func
        if not inspect.iscoroutinefunction(function):
            yield f"lifespan.{name}.{verb} must be `async def`: it runs in the event loop of the bus"
        elif (given := str(inspect.signature(function))) and not _fits(function):
            yield f"lifespan.{name}.{verb} has the parameters {given}; it must be {verb}(hub)"


def _fits(function: Any) -> bool:
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    return True


def _hook(hub: Hub, name: str, plugin: Any) -> Hook:
    calls = [plugins.unwrapped(hub, plugin._funcs[verb]) if verb in plugin._funcs else None for verb in VERBS]
    return Hook(f"lifespan.{name}", *calls)


async def start(hub: Hub) -> None:
    """Run the start functions; raises LifecycleError."""
    await hub.evbus.RUNTIME.lifespan.start(float(settings.config(hub, "lifespan_timeout", TIMEOUT)))


async def ready(hub: Hub) -> None:
    """Run the ready functions, unless they have run: all handlers and services receive; raises LifecycleError."""
    await hub.evbus.RUNTIME.lifespan.ready(float(settings.config(hub, "lifespan_timeout", TIMEOUT)))


async def stop(hub: Hub, left: float) -> None:
    """Run the stop functions, in the loop of the bus, within half of the `left` seconds; raises nothing."""
    now = hub.evbus.RUNTIME
    if now.starting:  # the start does it
        return
    timeout = min(float(settings.config(hub, "lifespan_timeout", TIMEOUT)), max(LEAST, left / 2))
    stopping = now.lifespan.stop(timeout)
    if now.bus.loop is None or now.bus.loop is asyncio.get_running_loop():
        await stopping
        return
    gone = LifecycleError("the loop of the bus does not answer")
    try:
        await run_in_loop(stopping, now.bus.loop, timeout + LEAST, blocked=gone, closed=gone)
    except LifecycleError:
        return
