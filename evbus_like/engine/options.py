"""The options of a profile: their names and types, and the messages about wrong ones.

An ingress plugin declares its own options as OPTIONS, a mapping of the name to (type or types, help).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Any

from evbus_like.engine import rate
from evbus_like.engine.expiry import LONGEST, MOST_PRIORITY, SHORTEST
from evbus_like.engine.sending.destination import LaneOptions
from evbus_like.engine.suggest import did_you_mean, shown, text_problem

Spec = Mapping[str, tuple[Any, str]]
NUMBER = (int, float)

COMMON: Spec = {
    "serializer": (
        str,
        "how bodies become bytes: json, msgpack, yaml, str or a plugin's name (default: the setting serial_plugin)",
    ),
    "accept": (
        (str, list, tuple),
        "the formats of received bodies that are decoded, unless a handler or service has its"
        " own accept (default: for handlers all that ship but yaml, for services and answers of calls json)",
    ),
    "default_format": (str, "the serializer that is assumed for received bodies without a content type"),
    "outbox": (
        str,
        "always: an event is on the disk before put returns, and survives a crash; or never (default: never)",
    ),
    "when_full": (
        str,
        "what becomes of events while the lane is full: block (put waits, put_nowait raises), drop_new or"
        " drop_old (the new event, or the oldest that is not being sent, is dropped and counted), spill (the event"
        " waits on the disk) (default: block)",
    ),
    "dead_letter": (str, "the event profile that gets the dead letters of this one, instead of the outbox"),
    "expires": (NUMBER, "events whose put has no expires= expire so many seconds after it (default: never)"),
    "priority": (int, "RabbitMQ: the priority of events whose put has no priority=, 0 to 255"),
    "rate": (str, "the most events that are sent in a time: 50/s, 1000/min, 10/h (default: no limit)"),
    "max_events": (int, "how many events may wait in the lane (default: 100000)"),
    "max_bytes": (int, "how many bytes of bodies may wait in the lane (default: 67108864, 64 MiB)"),
    "max_event_bytes": (
        int,
        "the largest serialized body; put raises EventTooLarge beyond it, and what a handler receives goes to the"
        " dead letters (default: the plugin's, else max_bytes; for handlers 16 MiB)",
    ),
    "max_header_bytes": (
        int,
        "the most bytes of all headers of one event: of each its name, its value and 6 more; put raises BadEvent"
        " beyond it (default: the plugin's, else no limit)",
    ),
    "batch_events": (int, "how many events are sent at once, at most (default: 1000; Kafka: 4000)"),
    "batch_bytes": (
        int,
        "how many bytes of bodies are sent at once, at most; a larger event is sent alone (default: 4194304, 4 MiB)",
    ),
    "timeout": ((*NUMBER, type(None)), "seconds that connecting, or sending one batch, may take (default: 30)"),
    "retry": (Mapping, "how fast and how often to try again"),
}
RETRY: Spec = {
    "first": (
        NUMBER,
        "seconds: the first wait is random, up to this; the limit doubles with each further one (default: 0.1)",
    ),
    "max": (NUMBER, "seconds: the longest wait (default: 5)"),
    "refused_cap": (
        NUMBER,
        "seconds: the longest wait after a refusal, such as a wrong password or a missing exchange (default: 30)",
    ),
    "attempts": (
        (int, type(None)),
        "give an event up after so many tries; tries to connect count, so an absent broker costs events (default:"
        " try for ever)",
    ),
    "deadline": ((*NUMBER, type(None)), "give an event up so many seconds after its first failure (default: never)"),
}


NOT_OF_LANES = ("serializer", "accept", "default_format", "outbox", "retry")
RETRY_FIELDS = {"first": "retry_base", "max": "retry_cap", "deadline": "retry_deadline"}
# What a plugin may set: the fields of LaneOptions.
LANE: Spec = {
    **{name: spec for name, spec in COMMON.items() if name not in NOT_OF_LANES},
    **{RETRY_FIELDS.get(name, name): spec for name, spec in RETRY.items()},
    "durable": (bool, "set by the option outbox"),
    "reserved_headers": ((list, tuple), "names of headers that puts must not have"),
    "takes_priority": (bool, "whether the destination has priorities"),
}
CHOICES = {"outbox": ("always", "never"), "when_full": ("block", "drop_new", "drop_old", "spill")}
YEAR = 31_536_000
MILLISECONDS = (1, 2**31 - 1)
SIZE = (1, 2**53)
# The least and the largest value of numbers, by the option's name; an option means the same in every provider.
RANGES: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("max_events", "max_bytes", "batch_bytes", "queue_events"), SIZE),
    **dict.fromkeys(("max_event_bytes", "max_header_bytes", "max_batch_size", "max_request_size"), (1, 2**31 - 1)),
    **dict.fromkeys(("timeout", "first", "max", "refused_cap", "deadline"), (0.001, YEAR)),
    **dict.fromkeys(("retry_base", "retry_cap", "retry_deadline"), (0.001, YEAR)),
    **dict.fromkeys(("request_timeout_ms", "metadata_max_age_ms", "connections_max_idle_ms"), MILLISECONDS),
    **dict.fromkeys(("linger_ms", "retry_backoff_ms", "partition"), (0, 2**31 - 1)),
    "batch_events": (1, 1_000_000),
    "expires": (SHORTEST, LONGEST),
    "priority": (0, MOST_PRIORITY),
    "attempts": (1, 2**31 - 1),
    "heartbeat": (0, 65535),
    "port": (1, 65535),
    "acks": (-1, 1),
    "session_timeout": (1, 86400),
}
# The most bytes of texts, by the option's name: RabbitMQ takes no longer names.
LONGEST_TEXT = dict.fromkeys(("exchange", "routing_key", "rpc_exchange", "dead_letter_exchange", "virtualhost"), 255)
# Options that may be empty text: it means nothing, or the default.
MAY_BE_EMPTY = ("exchange", "routing_key", "app_id", "id_header", "dead_letter_exchange", "password")
TEXTS = ("topics", "bootstrap_servers", "hosts", "accept")  # lists of names
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}", re.ASCII)


def of_sources(found: Iterable[Any]) -> dict[str, Any]:
    """Return the options of egress plugins, because a profile may serve both puts and handlers."""
    specs: dict[str, Any] = {}
    for plugin in found:
        specs.update(getattr(plugin, "OPTIONS", None) or {})
    return specs


def problems(data: Mapping[str, Any], specs: Spec, prefix: str = "") -> Iterator[str]:
    """Yield a message for every option that does not exist, has the wrong type, is empty or is out of range."""
    for name, value in data.items():
        if name not in specs:
            yield _unknown(name, value, specs, prefix)
            continue
        kinds = specs[name][0]
        kinds = kinds.__args__ if isinstance(kinds, UnionType) else kinds if isinstance(kinds, tuple) else (kinds,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds and int in kinds):
            names = " or ".join("nothing" if kind is type(None) else kind.__name__ for kind in kinds)
            hint = "; put it in quotes" if str in kinds and isinstance(value, (bool, *NUMBER)) else ""
            if int in kinds and isinstance(value, str):
                hint = "; write a number without quotes and without a unit"
            kind = "dict" if isinstance(value, dict) else type(value).__name__  # acct gives dicts of its own
            yield f"option {prefix}{name} must be of type {names}, not {kind}{hint}"
        elif isinstance(value, NUMBER) and not isinstance(value, bool):
            yield from _out_of_range(f"{prefix}{name}", value, RANGES.get(name, (-(2.0**63), 2.0**64)))
        elif isinstance(value, (str, list, tuple)):
            yield from _wrong_text(f"{prefix}{name}", value, name)


def _unknown(name: Any, value: Any, specs: Spec, prefix: str) -> str:
    """Name an option that does not exist, unless its name may be a secret, as in {password:secret}."""
    hint = did_you_mean(str(name), specs)
    if isinstance(name, str) and NAME.fullmatch(name) and (value is not None or hint.startswith("did you mean")):
        return f"there is no option {prefix}{name}; {hint}"
    known = next((each for each in sorted(specs, key=len, reverse=True) if str(name).startswith(f"{each}:")), "")
    where = f"option {prefix}{known} has no space after its colon" if known else f"an option name {prefix}... is wrong"
    return f"{where}; write NAME: VALUE. It is not shown, because it may hold a secret; {_all(specs)}"


def _all(specs: Spec) -> str:
    return f"there is: {', '.join(sorted(specs))}"


def _out_of_range(name: str, value: float, allowed: tuple[float, float]) -> Iterator[str]:
    least, most = allowed
    if not least <= value <= most:  # also for NaN
        above = "must be greater than 0" if value <= 0 < least else f"must be from {least:g} to {most:.15g}"
        yield f"option {name} {above}, not {shown(value)}"


def _wrong_text(full: str, value: Any, name: str) -> Iterator[str]:
    if isinstance(value, str) and (problem := text_problem(value)):
        yield f"option {full} {problem}"
    elif isinstance(value, str) and len(value.encode(errors="replace")) > LONGEST_TEXT.get(name, math.inf):
        yield f"option {full} is longer than {LONGEST_TEXT[name]} bytes"
    elif not value and name not in MAY_BE_EMPTY and (isinstance(value, str) or name in TEXTS):
        yield f"option {full} must not be empty; leave it out for its default"
    elif name in TEXTS:
        for each in [value] if isinstance(value, str) else value:
            if not isinstance(each, str) or not each.strip():
                kind = f"{type(each).__name__}; put it in quotes" if not isinstance(each, str) else "empty text"
                yield f"option {full} must be a list of text, and has {kind}"
                return
            if problem := text_problem(each):
                yield f"option {full} {problem}"
                return


def common_problems(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield a message for every wrong option of those that all profiles have."""
    yield from problems({name: data[name] for name in data if name in COMMON}, COMMON)
    if isinstance(data.get("retry"), Mapping):
        yield from problems(data["retry"], RETRY, "retry.")
    yield from _choice_problems(data)
    yield from _rate_problems(data)


def lane_problems(fields: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Yield a message for every wrong field that a plugin sets; None stands for the default."""
    yield from problems({name: value for name, value in fields.items() if value is not None}, LANE, prefix)
    yield from _choice_problems(fields, prefix)
    yield from _rate_problems(fields, prefix)


def _choice_problems(data: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, choices in CHOICES.items():
        if isinstance(data.get(name), str) and data[name] not in choices:
            yield f"option {prefix}{name} must be {' or '.join(choices)}, not {shown(data[name])}"


def _rate_problems(data: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    if isinstance(data.get("rate"), str) and data["rate"] and (problem := rate.problem("rate", data["rate"])):
        yield f"option {prefix}{problem}"


def lane_options(data: Mapping[str, Any], plugin_defaults: Mapping[str, Any]) -> LaneOptions:
    """Return the options of a lane, for a profile without problems."""
    retry = data.get("retry") or {}
    chosen = {RETRY_FIELDS.get(name, name): value for name, value in retry.items()}
    chosen.update({name: data[name] for name in COMMON if name in LANE and data.get(name) is not None})
    chosen["durable"] = data.get("outbox") == "always"
    defaults = {name: value for name, value in plugin_defaults.items() if value is not None}
    return LaneOptions(**{**defaults, **chosen})
