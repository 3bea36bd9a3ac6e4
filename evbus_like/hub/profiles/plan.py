"""Check the profiles of the contexts, and make lanes of them."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evbus_like.engine import options
from evbus_like.engine.errors import EvbusError, ProfileError
from evbus_like.engine.failure import Report
from evbus_like.engine.foreign import tamed
from evbus_like.engine.sending.destination import LaneOptions
from evbus_like.engine.sending.lane import Lane
from evbus_like.engine.sending.router import Entry
from evbus_like.engine.suggest import did_you_mean, shown, text_problem
from evbus_like.hub import decoding, pauses, plugins, rates, secrets
from evbus_like.hub.profiles import contract, settings
from evbus_like.hub.profiles.destination import PluginDestination
from evbus_like.hub.runtime import Hub
from evbus_like.hub.secrets import redact
from evbus_like.hub.traced import traced

log = logging.getLogger("evbus_like.profiles")

DATABASES = "postgres"  # the provider of the application's own databases


@dataclass(frozen=True)
class Planned:
    """One checked profile: what its lane is made of, or its problem."""

    name: str
    provider: str
    profile: str
    plugin: str = ""
    destination: PluginDestination | None = None
    options: LaneOptions | None = None
    serializer: str = ""
    matches: Any = None
    problem: str = ""
    unknown: bool = False  # no plugin handles the provider: a warning, not an error


def pairs(contexts: Mapping[str, Any] | None) -> Iterator[tuple[str, str, Any]]:
    """Yield (provider, profile name, data) from contexts in dict or in list form; raises ProfileError."""
    if contexts is not None and not isinstance(contexts, Mapping):
        raise ProfileError(f"contexts must map providers to profiles, not be a {type(contexts).__name__}")
    for provider, profiles in (contexts or {}).items():
        if provider == "match_plugin":
            continue
        for group in profiles if isinstance(profiles, (list, tuple)) else [profiles]:
            if group is not None and not isinstance(group, Mapping):
                raise ProfileError(
                    f"provider {provider!r} must map profile names to their options, not hold a {type(group).__name__}"
                )
            for name, data in (group or {}).items():
                if problem := name_problem(provider) or name_problem(name):
                    raise ProfileError(problem)
                yield provider, name, data


def name_problem(name: Any) -> str:
    """Return what is wrong with the name of a provider or a profile, or an empty string."""
    if isinstance(name, str):
        problem = text_problem(name) if name.strip() else "must not be empty"
        return problem and f"the name of a provider or a profile {problem}"
    return (
        f"the name of a provider or a profile must be text, not {name!r} ({type(name).__name__}): YAML reads some words"
        " and numbers as other values, such as no, null and 1.10; write the name in quotes"
    )


def takers(hub: Hub, sub: str = "ingress") -> dict[str, list[Any]]:
    """Return the ingress, or egress, plugins that handle each provider, by their ACCT lists."""
    found: dict[str, list[Any]] = {}
    for plugin in plugins.loaded(hub, sub).values():
        accepted = getattr(plugin, "ACCT", None) or []
        for provider in [accepted] if isinstance(accepted, str) else accepted:
            found.setdefault(provider, []).append(plugin)
    return found


def plan(hub: Hub, contexts: Mapping[str, Any] | None) -> list[Planned]:
    """Check every profile; a wrong one is returned with its problem."""
    by_provider, sources = takers(hub), takers(hub, "egress")
    checked: set[str] = set()
    compile_pattern = plugins.matcher(hub, settings.matcher_name(hub, contexts))
    planned: list[Planned] = []
    seen: dict[str, int] = {}
    for provider, profile, data in pairs(contexts):
        if provider == DATABASES:  # where events are stored, and no destination
            continue
        for plugin in by_provider.get(provider) or by_provider.get(provider.split(".")[0]) or [None]:
            name = f"{provider}:{profile}"
            if plugin is None and provider in sources:  # it is for handlers only
                continue
            seen[name] = seen.get(name, 0) + 1
            if seen[name] > 1:
                name = f"{name}#{seen[name]}"
            if plugin is None and provider not in hub.evbus.RUNTIME.broken.get("ingress", {}):
                text = f"no ingress plugin takes the provider {provider!r}; {did_you_mean(provider, by_provider)}"
                planned.append(Planned(name, provider, profile, problem=text, unknown=True))
                continue
            try:
                if plugin is not None and plugin.__name__ not in checked:
                    contract.check(plugin)
                    checked.add(plugin.__name__)
                planned.append(_plan_one(hub, name, provider, profile, data, plugin, compile_pattern, sources))
            except EvbusError as error:
                planned.append(Planned(name, provider, profile, problem=redact(str(error), secrets.find(data))))
    return [_with_dead_letters(item, planned) for item in planned]


def _with_dead_letters(item: Planned, planned: Sequence[Planned]) -> Planned:
    """Return a profile, with a problem if no profile would get its dead letters."""
    wanted = item.options.dead_letter if item.options is not None else None
    if wanted is None or item.problem or any(_takes(each, wanted) for each in planned):
        return item
    names = did_you_mean(wanted, [each.profile for each in planned])
    return replace(item, problem=f"option dead_letter: no profile takes the events of {shown(wanted)}; {names}")


def _takes(item: Planned, event_profile: str) -> bool:
    try:
        return bool(item.problem or item.matches(event_profile))
    except KeyboardInterrupt:
        raise
    except BaseException:  # the pattern of another profile takes too long, or fails; its events are refused then
        return True


def _plan_one(
    hub: Hub, name: str, provider: str, profile: str, data: Any, plugin: Any, compile_pattern: Any, sources: Any
) -> Planned:
    if plugin is None:
        raise ProfileError(
            f"the ingress plugin {provider!r} could not be loaded: {hub.evbus.RUNTIME.broken['ingress'][provider]}"
        )
    if data is not None and not isinstance(data, Mapping):
        raise ProfileError(f"its data must be a mapping of options, not {type(data).__name__}")
    data = data or {}
    for library in getattr(plugin, "REQUIRES", ()):
        if importlib.util.find_spec(library) is None:
            raise ProfileError(f"it needs the library {library}, which is not installed: pip install {library}")
    specs = getattr(plugin, "OPTIONS", None)
    wrong = list(options.common_problems(data))
    if specs is not None:
        both = {**options.of_sources(sources.get(provider, ())), **options.COMMON, **specs}
        wrong += [text for text in options.problems(data, both) if text not in wrong]
    wrong = wrong or decoding.profile_problems(hub, data)
    if wrong:
        raise ProfileError("; ".join(wrong))
    serializer = str(data.get("serializer") or settings.serializer_name(hub))
    plugins.plugin(hub, "serialize", serializer, "serializer")
    try:
        matches = compile_pattern(profile)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ProfileError(f"its name is not a valid pattern: {tamed(error)}") from error
    destination = traced(PluginDestination)(plugin, provider, profile, data)
    for each in (plugin, *sources.get(provider, ())):
        if "validate" in each._funcs:
            contract.called(each, "validate", destination.ctx)
    lane_defaults = contract.limits(plugin, destination.ctx)
    if not destination.takes_batches:
        data = {**data, "batch_events": 1}
    chosen = options.lane_options(data, lane_defaults)
    if chosen.priority is not None and not chosen.takes_priority:
        raise ProfileError("option priority is for RabbitMQ, and this destination has no priorities: leave it out")
    return Planned(
        name,
        provider,
        profile,
        plugin=destination.plugin,
        destination=destination,
        options=chosen,
        serializer=serializer,
        matches=matches,
    )


def entries(hub: Hub, contexts: Mapping[str, Any] | None, report: Report) -> list[Entry]:
    """Return the router's entries without unknown providers; raises one ProfileError that names every wrong profile."""
    planned = plan(hub, contexts)
    for item in planned:
        if item.unknown:
            log.warning("profile %s gets no events: %s", item.name, item.problem)
    planned = [item for item in planned if not item.unknown]
    wrong = [f"profile {item.name}: {item.problem}" for item in planned if item.problem]
    if wrong:
        raise ProfileError("; ".join(wrong) if len(wrong) == 1 else "\n  ".join(["these profiles are wrong:", *wrong]))
    serializers = {name: plugins.serializer(hub, name) for name in {item.serializer for item in planned}}
    paused = pauses.current(hub)
    made = []
    for item in planned:
        assert item.destination is not None
        assert item.options is not None
        lane = Lane(item.name, item.destination, item.options, report)
        lane.paused = pauses.why(paused, item.name)
        if item.options.rate is not None:
            lane.slot = rates.limit(hub, f"profile {item.name}")
        made.append(Entry(item.matches, lane, serializers[item.serializer]))
    return made
