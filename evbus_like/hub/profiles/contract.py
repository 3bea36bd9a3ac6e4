"""Check what a plugin declares against its contract, before a profile uses it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evbus_like.engine import options
from evbus_like.engine.errors import EvbusError, ProfileError
from evbus_like.engine.foreign import tamed, text_of

# The parameters, after the hub, of the functions that are called by position
INGRESS = {
    "open": ("ctx",),
    "close": ("ctx",),
    "ping": ("ctx",),
    "validate": ("ctx",),
    "limits": ("ctx",),
    "publish_batch": ("ctx", "events"),
    "publish_now": ("ctx", "events"),
}
EGRESS = {
    "open": ("ctx",),
    "close": ("ctx",),
    "validate": ("ctx",),
    "check": ("ctx", "subscription"),
    "inspect": ("ctx", "subscription"),
    "dead_letters": ("ctx", "subscription"),
    "subscribe": ("ctx", "subscription"),
    "receive": ("ctx", "feed"),
    "ack": ("ctx", "feed", "events"),
    "requeue": ("ctx", "feed", "event"),
    "retry": ("ctx", "feed", "event", "delay"),
    "dead": ("ctx", "feed", "event", "reason"),
    "send": ("ctx", "feed", "messages"),
    "unsubscribe": ("ctx", "feed"),
}
SOURCE = ("subscribe", "receive", "ack", "requeue", "dead", "unsubscribe")  # what every egress plugin has
PLAIN = ("validate", "limits", "publish_now", "check")


class _Value:
    """An object of no type that a plugin names."""


def check(plugin: Any) -> None:
    """Raise a ProfileError that names everything wrong with an ingress plugin's functions and constants."""
    lane = lane_problems("LANE", getattr(plugin, "LANE", None))
    _refuse("ingress", plugin, [*_functions(plugin, INGRESS), *_options(plugin), *lane])


def check_source(plugin: Any) -> None:
    """Raise a ProfileError that names everything wrong with an egress plugin's functions and constants."""
    missing = [f"it has no function {name}" for name in SOURCE if name not in plugin._funcs]
    _refuse("egress", plugin, [*missing, *_functions(plugin, EGRESS), *_options(plugin)])


def _refuse(folder: str, plugin: Any, problems: Sequence[str]) -> None:
    if problems:
        raise ProfileError(f"the {folder} plugin {plugin.__name__!r} is wrong: {'; '.join(problems)}")


def called(plugin: Any, name: str, *arguments: Any) -> Any:
    """Call a plugin's function that checks what the operator wrote; raises ProfileError whatever the plugin raises."""
    try:
        return plugin._funcs[name](*arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, EvbusError) and tamed(error) is error:
            raise
        reason = text_of(error)
    raise ProfileError(f"{name} of the plugin {plugin.__name__!r} failed: {reason}")


def limits(plugin: Any, ctx: Any) -> Mapping[str, Any]:
    """Return the lane's defaults that a plugin declares or computes; raises ProfileError."""
    if "limits" not in plugin._funcs:
        return getattr(plugin, "LANE", None) or {}
    computed = called(plugin, "limits", ctx)
    _refuse("ingress", plugin, list(lane_problems("limits", computed)))
    return {**(getattr(plugin, "LANE", None) or {}), **computed}


def lane_problems(source: str, fields: Any) -> Iterator[str]:
    """Yield a message for every wrong field of LANE, or of what `limits` returned."""
    if fields is None and source == "LANE":
        return
    if not isinstance(fields, Mapping):
        yield f"{source} must be a mapping of fields of LaneOptions, not {type(fields).__name__}"
        return
    yield from options.lane_problems(fields, f"{source}.")


def _functions(plugin: Any, contract: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for name, arguments in contract.items():
        function = plugin._funcs.get(name)
        if function is None or (name == "publish_now" and "open" in plugin._funcs):  # it is not used then
            continue
        if name in PLAIN and inspect.iscoroutinefunction(function.func):
            yield f"{name} must be a plain function, not async"
        try:
            function.signature.bind(None, *arguments)
        except TypeError:
            has, wanted = ", ".join(function.signature.parameters), ", ".join(("hub", *arguments))
            yield f"{name} has the parameters ({has}); it must be {name}({wanted})"


def _options(plugin: Any) -> Iterator[str]:
    specs = getattr(plugin, "OPTIONS", None)
    if specs is not None and not isinstance(specs, Mapping):
        yield f"OPTIONS must be a mapping, not {type(specs).__name__}"
        return
    for name, spec in (specs or {}).items():
        try:
            isinstance(_Value(), spec[0])
        except (TypeError, LookupError):
            yield f"OPTIONS[{name!r}] must be (type or types, help), not {spec!r}"
