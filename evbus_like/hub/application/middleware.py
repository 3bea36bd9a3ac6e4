"""Loads the plugins of the middleware dyne, which see what is put before the engine does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evbus_like.engine.errors import HandlerError
from evbus_like.engine.put import Putter
from evbus_like.hub import plugins
from evbus_like.hub.runtime import Hub, bind_puts
from evbus_like.hub.traced import traced

if TYPE_CHECKING:
    from evbus_like.engine.middleware import Middleware

VERBS = ("incoming", "outgoing")


def load(hub: Hub) -> Middleware | None:
    """Return the hub's middleware in the order of the plugins' names, None if there is none; raises HandlerError."""
    plugins.add(hub, "middleware")
    if "middleware" not in hub.evbus.RUNTIME.broken:
        hub.evbus.RUNTIME.broken["middleware"] = plugins.broken(hub.middleware)
    wrong = [
        f"the middleware plugin {name!r} could not be loaded: {reason}"
        for name, reason in hub.evbus.RUNTIME.broken["middleware"].items()
    ]
    found = sorted(plugins.loaded(hub, "middleware").items())
    wrong += [
        f"the middleware plugin {name!r} has neither incoming(hub, message) nor outgoing(hub, message)"
        for name, plugin in found
        if not set(VERBS) & set(plugin._funcs)
    ]
    if wrong:
        raise HandlerError("\n  ".join(wrong))
    if not found:
        return None
    from evbus_like.engine.middleware import Hook, Middleware  # only if needed: a start stays short

    hooks = {
        verb: [
            Hook(f"middleware.{name}.{verb}", plugins.unwrapped(hub, plugin._funcs[verb]))
            for name, plugin in found
            if verb in plugin._funcs
        ]
        for verb in VERBS
    }
    return Middleware(hooks["incoming"], hooks["outgoing"])


def begin(hub: Hub) -> None:
    """Load the middleware for a bus that starts; what is put passes it if it has hooks; raises HandlerError."""
    now = hub.evbus.RUNTIME
    now.middleware = load(hub)
    if now.middleware is not None and now.middleware.looks_at_what_goes_out:
        from evbus_like.hub.application.middleware_putter import MiddlewarePutter  # only if needed, as above

        now.putter = traced(MiddlewarePutter)(now.bus, now.putter.timeout, now.middleware)
    elif type(now.putter) is not traced(Putter):
        now.putter = traced(Putter)(now.bus, now.putter.timeout)
    else:
        return
    bind_puts(hub)
