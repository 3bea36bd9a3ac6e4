"""Finds and checks the marked functions of the handler dyne."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from evbus_like import handlers as marks
from evbus_like.engine.errors import HandlerError
from evbus_like.engine.receiving.handler import Handler, HandlerOptions
from evbus_like.engine.receiving.subscription import BROADCAST, matches
from evbus_like.engine.suggest import shown, text_problem
from evbus_like.hub import decoding, plugins
from evbus_like.hub.application import durable_dedup, inboxes
from evbus_like.hub.profiles import settings
from evbus_like.hub.profiles.source import PluginSource
from evbus_like.hub.runtime import Hub
from evbus_like.processes.worker import THIS

P = inspect.Parameter


def load(hub: Hub) -> None:
    """Put the `handler` dyne on the hub, and record the plugins that could not be loaded."""
    if "handler" not in hub.evbus.RUNTIME.broken:  # at a second look pop returns a crashed plugin half executed
        plugins.add(hub, "handler")
        hub.evbus.RUNTIME.broken["handler"] = plugins.broken(hub.handler)


def marked(hub: Hub) -> Iterator[tuple[str, str, Any, HandlerOptions]]:
    """Yield (place on the hub, service, function, options) of every marked function."""
    for plugin_name, plugin in plugins.loaded(hub, "handler").items():
        service = str(getattr(plugin, "SERVICE", "") or plugin_name)
        for name, function in plugin._funcs.items():
            for options in getattr(function, marks.MARK, ()):
                yield f"handler.{plugin_name}.{name}", service, function, options


def names(hub: Hub) -> list[tuple[str, str]]:
    """Return (service, name) of every marked function, including unusable ones."""
    return list(dict.fromkeys((service, _name(options, each)) for _, service, each, options in marked(hub)))


def found(hub: Hub, only: Collection[str] = (), skip: Collection[str] = ()) -> list[Handler]:
    """Return the handlers of the hub; raises one HandlerError that names every problem.

    `only` and `skip` are patterns of `service.name`, or of the service alone.
    """
    made, wrong = looked_up(hub, only, skip)
    refuse(wrong)
    return made


def looked_up(hub: Hub, only: Collection[str] = (), skip: Collection[str] = ()) -> tuple[list[Handler], list[str]]:
    """Return the usable handlers of the hub, and the problems of the others."""
    wrong = [
        f"the handler plugin {name!r} could not be loaded: {reason}"
        for name, reason in hub.evbus.RUNTIME.broken.get("handler", {}).items()
    ]
    wrong += [
        f"handler.init.{name}: functions of init.py are not called; move it to another file, whose name is the service"
        for name, function in getattr(hub.handler._loaded.get("init"), "_funcs", {}).items()
        if getattr(function, marks.MARK, ())
    ]
    wrong += service_problems(hub, "handler")
    made: list[Handler] = []
    log_bodies = bool(settings.config(hub, "log_bodies", False))
    for ref, service, function, options in marked(hub):
        name = _name(options, function)
        if (only and not among(service, name, only)) or among(service, name, skip):
            continue
        has_hub = bool(getattr(function, "implicit_hub", False))
        trouble = options.problem() or kind_problem(function.func)
        trouble = trouble or signature_problem(inspect.signature(function.func), has_hub)
        trouble = trouble or decoding.problem(hub, options.accept, options.default_format)
        trouble = (
            trouble or _broadcast_problem(hub, options) or durable_dedup.problem(options, identifier(hub, options))
        )
        is_async = inspect.iscoroutinefunction(function.func)
        trouble = trouble or inboxes.problem(options, is_async, identifier(hub, options))
        if trouble:
            wrong.append(f"{ref}: {trouble}")
            continue
        options = replace(options, log_bodies=log_bodies)
        call = plugins.unwrapped(hub, function)
        made.append(Handler(ref, service, name, call, is_async, options, _declared(hub, options)))
    wrong += _duplicates(made)
    return made, wrong


def service_problems(hub: Hub, dyne: str) -> Iterator[str]:
    """Yield what is wrong with the constant SERVICE of each plugin of a dyne."""
    for name, plugin in plugins.loaded(hub, dyne).items():
        given = getattr(plugin, "SERVICE", "")
        if not isinstance(given, str):
            yield f"{dyne}.{name}: SERVICE must be text, not {shown(given)}"
        elif problem := text_problem(given):
            yield f"{dyne}.{name}: SERVICE {problem}"


def _name(options: HandlerOptions, function: Any) -> str:
    return options.name if isinstance(options.name, str) and options.name else str(function.__name__)


def refuse(wrong: list[str]) -> None:
    """Raise one HandlerError that names every problem, if there is one."""
    if wrong:
        raise HandlerError(wrong[0] if len(wrong) == 1 else "\n  ".join(["these handlers cannot be used:", *wrong]))


def _declared(hub: Hub, options: HandlerOptions) -> dict[str, Any]:
    """Return the declared events among a handler's event types: their bodies are checked and cast."""
    return {
        event_type: event
        for (service, event_type), event in hub.evbus.RUNTIME.events.events.items()
        if service == options.source and any(matches(wanted, event_type) for wanted in options.event_types)
    }


def among(service: str, name: str, wanted: Collection[str]) -> bool:
    """Whether a function of a service matches one of the patterns, of `service.name` or of the service."""
    return any(fnmatchcase(f"{service}.{name}", each) or fnmatchcase(service, each) for each in wanted)


def kind_problem(function: Any) -> str:
    """Return why this kind of function cannot be a handler, or an empty string."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "it is a generator (it has a yield), which does nothing when it is called: return instead"
    return ""


def signature_problem(signature: inspect.Signature, has_hub: bool) -> str:
    """Return why a function cannot be called with one positional event, or an empty string."""
    parameters = list(signature.parameters.values())
    if has_hub:
        parameters = parameters[1:]
    positional = [each for each in parameters if each.kind in (P.POSITIONAL_ONLY, P.POSITIONAL_OR_KEYWORD)]
    any_number = any(each.kind is P.VAR_POSITIONAL for each in parameters)
    required = [each.name for each in positional[1:] if each.default is P.empty]
    required += [each.name for each in parameters if each.kind is P.KEYWORD_ONLY and each.default is P.empty]
    names = [str(each).split(":")[0].split("=")[0].strip() for each in signature.parameters.values()]
    shown = f"its signature is ({', '.join(names)}), and a handler is (hub, event)"
    if not positional and not any_number:
        return f"it takes no event: {shown}"
    if required:
        return f"nothing is given for {', '.join(required)}: {shown}"
    return ""


def _broadcast_problem(hub: Hub, options: HandlerOptions) -> str:
    if options.delivery == BROADCAST and options.reliable and not identifier(hub, options):
        return (
            "BROADCAST with reliable delivery needs a broadcast_identifier that stays the same after a restart (such as"
            " the host's name): give it here, by the setting broadcast_identifier, or say reliable=False"
        )
    return ""


def check_later(source: PluginSource, options: HandlerOptions) -> None:
    """Refuse delays that a source cannot hold; raises HandlerError."""
    later = options.later or next(filter(None, (each.later for each in options.rules)), ())
    if later and (not source.retries or options.shards):
        what = "a handler with shards" if options.shards else source.name
        raise HandlerError(
            f"later= needs a source that can delay an event and go on with others, and {what} keeps the order of keys:"
            f" a waiting event would hold back those of its key, and a place of the prefetch, for up to"
            f" {max(later):g} s. Use attempts=, backoff= and max_backoff= instead"
        )


def identifier(hub: Hub, options: HandlerOptions) -> str:
    """Return the broadcast identifier of the handler or the setting, or an empty string; each worker has its own."""
    given = options.broadcast_identifier or str(settings.config(hub, "broadcast_identifier", "") or "")
    return f"{given}-{THIS.number}" if given and THIS is not None else given


def _duplicates(made: list[Handler]) -> Iterator[str]:
    """Yield the problems of listeners of one service and source with the same name."""
    first: dict[tuple[str, str, str, str], Handler] = {}
    for each in made:
        key = (each.service, each.options.source, each.options.profile, each.name)
        other = first.setdefault(key, each)
        if other is each:
            continue
        same = other.ref == each.ref
        if not same or other.options.event_types == each.options.event_types:
            yield (
                f"{each.ref}: the service {each.service!r} has a listener {each.name!r} for events of"
                f" {each.options.source!r} already ({other.ref}); give one of them another name="
            )
