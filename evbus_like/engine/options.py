"""The options of a profile: their names and types, and the messages about wrong ones.

An ingress plugin declares its own options as OPTIONS, a mapping of the name to (type or types, help).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Any

from evbus_like.engine.sending.destination import LaneOptions
from evbus_like.engine.suggest import did_you_mean

Spec = Mapping[str, tuple[Any, str]]
NUMBER = (int, float)

COMMON: Spec = {
    "serializer": (str, "how bodies become bytes: json, msgpack, yaml, str or a plugin's name"),
    "outbox": (str, "always: an event is stored on disk before it is accepted; never is the default"),
    "when_full": (
        str,
        "what happens to events when the lane is full: block (put waits, put_nowait raises), drop_new, drop_old, spill",
    ),
    "dead_letter": (str, "the profile that gets the dead letters, instead of the outbox"),
    "max_events": (int, "how many events may wait for this destination"),
    "max_bytes": (int, "how many bytes of bodies may wait for this destination"),
    "max_event_bytes": (int, "the largest body that is accepted, in bytes"),
    "batch_events": (int, "how many events are sent at once, at most"),
    "batch_bytes": (int, "how many bytes of bodies are sent at once, at most"),
    "timeout": ((*NUMBER, type(None)), "seconds that connecting, or sending one batch, may take"),
    "retry": (Mapping, "how often and how fast to try again"),
}
RETRY: Spec = {
    "first": (NUMBER, "the first backoff is drawn between 0 and this many seconds; each further one doubles it"),
    "max": (NUMBER, "the longest backoff, in seconds"),
    "refused_cap": (NUMBER, "the longest backoff after a refusal, in seconds"),
    "attempts": ((int, type(None)), "give an event up after this many attempts; without it, never"),
    "deadline": ((*NUMBER, type(None)), "give an event up so many seconds after its first failure; without it, never"),
}


RETRY_FIELDS = {"first": "retry_base", "max": "retry_cap", "deadline": "retry_deadline"}
# What a plugin may set: the fields of LaneOptions.
LANE: Spec = {
    **{name: spec for name, spec in COMMON.items() if name not in ("serializer", "outbox", "retry")},
    **{RETRY_FIELDS.get(name, name): spec for name, spec in RETRY.items()},
    "durable": (bool, "set by the option outbox"),
}
CHOICES = {"outbox": ("always", "never"), "when_full": ("block", "drop_new", "drop_old", "spill")}
POSITIVE = (*COMMON, *RETRY, "queue_events")


def of_sources(found: Iterable[Any]) -> dict[str, Any]:
    """Return the options of egress plugins, because a profile may serve both puts and handlers."""
    specs: dict[str, Any] = {}
    for plugin in found:
        specs.update(getattr(plugin, "OPTIONS", None) or {})
    return specs


def problems(data: Mapping[str, Any], specs: Spec, prefix: str = "") -> Iterator[str]:
    """Yield a message for every option that does not exist, has the wrong type or is not positive."""
    for name, value in data.items():
        if name not in specs:
            yield f"there is no option {prefix}{name}; {did_you_mean(str(name), specs)}"
            continue
        kinds = specs[name][0]
        kinds = kinds.__args__ if isinstance(kinds, UnionType) else kinds if isinstance(kinds, tuple) else (kinds,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds and int in kinds):
            names = " or ".join("nothing" if kind is type(None) else kind.__name__ for kind in kinds)
            yield f"option {prefix}{name} must be of type {names}, not {type(value).__name__}"
        elif isinstance(value, NUMBER) and not isinstance(value, bool) and not value > 0 and name in POSITIVE:
            yield f"option {prefix}{name} must be greater than 0, not {value}"


def common_problems(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield a message for every wrong option of those that all profiles have."""
    yield from problems({name: data[name] for name in data if name in COMMON}, COMMON)
    if isinstance(data.get("retry"), Mapping):
        yield from problems(data["retry"], RETRY, "retry.")
    yield from _choice_problems(data)


def lane_problems(fields: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Yield a message for every wrong field that a plugin sets; None stands for the default."""
    yield from problems({name: value for name, value in fields.items() if value is not None}, LANE, prefix)
    yield from _choice_problems(fields, prefix)


def _choice_problems(data: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, choices in CHOICES.items():
        if isinstance(data.get(name), str) and data[name] not in choices:
            yield f"option {prefix}{name} must be {' or '.join(choices)}, not {data[name]!r}"


def lane_options(data: Mapping[str, Any], plugin_defaults: Mapping[str, Any]) -> LaneOptions:
    """Return the options of a lane, for a profile without problems."""
    retry = data.get("retry") or {}
    chosen = {RETRY_FIELDS.get(name, name): value for name, value in retry.items()}
    chosen.update({name: data[name] for name in COMMON if name in LANE and data.get(name) is not None})
    chosen["durable"] = data.get("outbox") == "always"
    defaults = {name: value for name, value in plugin_defaults.items() if value is not None}
    return LaneOptions(**{**defaults, **chosen})
