"""What `evbus check` finds about the handlers and services of applications, as `evbus run` would start them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from evbus_like.engine.errors import EvbusError
from evbus_like.engine.receiving.group import Group
from evbus_like.engine.receiving.received import BadBody, ReceivedEvent
from evbus_like.engine.receiving.source import Inspection
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.hub import decoding, plugins
from evbus_like.hub.application import binding, handlers, lifespan, middleware, responses, rpc_proxy, services
from evbus_like.hub.profiles.source import PluginSource

GUESSES = ("json", "msgpack")  # formats that bodies without a content type may have


class Receiver(NamedTuple):
    """A handler, a service or the handlers of answers, at one source."""

    name: str
    invoker: Any
    source: PluginSource
    subscription: Subscription


def found(hub: Any, given: Mapping[str, Any], only: Sequence[str], skip: Sequence[str]) -> tuple[list[Receiver], Any]:
    """Return what would receive, and (part, problem) of everything for which `evbus run` would not start."""
    hub.evbus.RUNTIME.begin(given)  # handlers of answers look there for their sources
    handlers.load(hub)
    wrong: list[tuple[str, str]] = []
    for part, check in (
        ("declared events", hub.evbus.RUNTIME.events.must_be_sound),
        ("middleware", lambda: middleware.load(hub)),
        ("lifespan", lambda: lifespan.load(hub)),
    ):
        try:
            check()
        except EvbusError as error:
            wrong.append((part, str(error)))
    made, mistakes = handlers.looked_up(hub, only, skip)
    bound, unbound = binding.bound(hub, given, made)
    wrong += [("handler", text) for text in (*mistakes, *unbound)]
    receivers = [
        Receiver(f"handler {each.handler.service}.{each.handler.name}", each, source, subscription)
        for each, source, subscription in bound
    ]
    for name, consumers in (("service", _of_services), ("answers", _of_answers)):
        try:
            receivers += [
                Receiver(f"{name} {each.subscription.service}", each.invoker, each.source, each.subscription)
                for each in consumers(hub, given, only, skip)
            ]
        except EvbusError as error:
            wrong.append((name, str(error)))
    return receivers, wrong


def _of_services(hub: Any, given: Mapping[str, Any], only: Sequence[str], skip: Sequence[str]) -> Any:
    return services.consumers(hub, given, services.found(hub, only, skip), Group())


def _of_answers(hub: Any, _given: Mapping[str, Any], only: Sequence[str], skip: Sequence[str]) -> Any:
    wanted = responses.found(hub, only, skip)
    return responses.consumers(hub, wanted, Group(), rpc_proxy.calls(hub).way)


async def inspect(hub: Any, each: Receiver, serializer: str, timeout: float) -> tuple[str, list[str]]:
    """Return what is wrong with a receiver, or an empty string, and advice; `serializer` is that of its profile."""
    advice = list(_formats(hub, each, serializer))
    try:
        async with asyncio.timeout(timeout):
            seen = await each.source.inspect(each.subscription)
    except TimeoutError:
        return f"no answer within {timeout:g} s", advice
    except Exception as error:
        return str(error) or type(error).__name__, advice
    return "", [*advice, *seen.advice, *_of_samples(hub, each, seen)]


def _formats(hub: Any, each: Receiver, serializer: str) -> Iterator[str]:
    """Yield advice about the formats that those who send to a receiver are known to use."""
    calls = each.subscription.of_calls
    used = "json" if calls else serializer
    plugin = plugins.loaded(hub, "serialize").get(used)
    if plugin is None or not getattr(plugin, "CONTENT_TYPE", ""):
        return
    problem = each.invoker.read(ReceivedEvent(plugin.dump("x"), "", content_type=plugin.CONTENT_TYPE))
    if problem and calls:
        yield f"calls and their answers are JSON, with nameko as with hub.rpc, and it refuses JSON: {problem}"
    elif problem:
        yield f"events that are put with its profile {each.source.name} are {used}, and it refuses them: {problem}"


def _of_samples(hub: Any, each: Receiver, seen: Inspection) -> Iterator[str]:
    """Yield advice about events that the source holds: which would be dead letters, and which would stay bytes."""
    problems: dict[str, list[ReceivedEvent]] = {}
    plain: list[ReceivedEvent] = []
    for event in seen.samples:
        if problem := each.invoker.read(event):
            problems.setdefault(problem, []).append(event)
        elif event.raw and not event.content_type and isinstance(event.body, bytes):
            plain.append(event)
    of = f"of the latest {len(seen.samples)} events"
    for problem, events in sorted(problems.items(), key=lambda item: -len(item[1]))[:3]:
        yield f"{len(events)} {of} would be dead letters, such as {events[0]}: {problem}"
    if plain:
        guess = next((name for name in GUESSES if _fits(hub, name, plain)), "")
        how = f"default_format={guess!r} decodes them" if guess else "default_format says what they are"
        yield f"{len(plain)} {of} have no content type, so it gets bytes: {how}"


def _fits(hub: Any, name: str, events: Sequence[ReceivedEvent]) -> bool:
    decode = decoding.decoder(hub, (name,), name)
    try:
        return all(isinstance(decode(event), (dict, list)) for event in events)
    except BadBody:
        return False
