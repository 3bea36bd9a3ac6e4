"""Read settings and check them: type, range, and where a wrong value came from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from math import inf
from typing import Any

from evbus_like import conf
from evbus_like.engine.errors import SettingError
from evbus_like.engine.suggest import did_you_mean, shown, text_problem
from evbus_like.engine.waiting import wrong_timeout
from evbus_like.hub.runtime import Hub
from evbus_like.hub.secrets import redact

SECTIONS = ("evbus_like", "evbus")  # pop-config keys settings by import name; pop-evbus apps use the second
SPECS: Mapping[str, Any] = conf.CONFIG
BUS = [name for name, spec in SPECS.items() if "os" in spec]  # the others are for the command alone
WORDS = {"true": True, "false": False}  # in the environment
WHOLE = re.compile(r"[+-]?\d+", re.ASCII)


class Default(str):
    """The default of a setting; a value that is assigned later is an ordinary string."""

    __slots__ = ()


def config(hub: Hub, name: str, default: Any = None) -> Any:
    """Return a setting of the loaded configuration, checked, or `default` if none was loaded; raises SettingError."""
    section, value = _given(hub, name)
    if not section:
        return default
    problem, value = checked(name, value)
    if problem:
        raise SettingError(f"setting {name} {problem} ({origin(hub, name)})")
    return value


def stop_timeout(hub: Hub, timeout: float | None) -> float:
    """Return the argument `timeout` of a stop, or the setting if it is None; raises ValueError, or SettingError."""
    return float(config(hub, "stop_timeout", 30.0)) if timeout is None else checked_timeout(timeout)


def checked_timeout(timeout: float) -> float:
    """Return the argument `timeout` of a call, where None is for ever; raises ValueError."""
    if timeout is not None and (wrong := wrong_timeout(timeout)):
        raise ValueError(wrong)
    return timeout


def check(hub: Hub, names: Iterable[str] = BUS) -> None:
    """Raise a SettingError that names every wrong setting, and every unknown one of this package."""
    wrong = [*_unknown(hub), *_wrong(hub, names)]
    if wrong:
        raise SettingError("; ".join(wrong) if len(wrong) == 1 else "\n  ".join(["these settings are wrong:", *wrong]))


def _wrong(hub: Hub, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        try:
            config(hub, name)
        except SettingError as error:
            yield str(error)


def _unknown(hub: Hub) -> Iterator[str]:
    """Name settings that nobody reads, if they resemble one of ours: pop puts other packages' ones beside them."""
    try:
        section = hub.OPT["evbus_like"]
    except (KeyError, AttributeError, TypeError):
        return
    if not isinstance(section, Mapping):
        yield f"hub.OPT['evbus_like'] must be a mapping of settings, not {type(section).__name__}"
        return
    unknown = [str(name) for name in section if name not in conf.CONFIG] if len(section) else []
    if unknown:
        pops = names_of_pop()
        for name in unknown:
            hint = did_you_mean(name, conf.CONFIG)
            if name not in pops and hint.startswith("did you mean"):
                yield f"there is no setting {name}; {hint} (hub.OPT.evbus_like)"


def names_of_pop() -> set[str]:
    """Return the names that pop-config adds to the settings of a command."""
    from pop_config import conf as pop_conf

    return {*pop_conf.CONFIG, *pop_conf.CLI_CONFIG}


def _given(hub: Hub, name: str) -> tuple[str, Any]:
    """Return the section of the configuration that has the setting, empty if none has, and the value."""
    for section in SECTIONS:
        try:
            found = hub.OPT[section]
        except (KeyError, AttributeError, TypeError):
            continue
        if isinstance(found, Mapping) and name in found:
            return section, found[name]
    return "", None


def checked(name: str, value: Any) -> tuple[str, Any]:
    """Return what is wrong with a value, or an empty string, and the value in the setting's type.

    The environment gives text alone, so a number may be text.
    """
    spec = SPECS[name]
    default, kind = spec["default"], spec.get("type", str)
    if value is None or (value == "" and default is None and kind is str):
        return ("" if default is None else f"must not be empty; leave it out for the default, {default}"), None
    if "words" in spec:
        words = spec["words"]
        problem, number = ("", value) if value in words else _number(value, int, spec["range"])
        return problem and problem.replace(", not ", f", or {' or '.join(words)}, not ", 1), number
    if kind in (int, float):
        return _number(value, kind, spec["range"])
    if isinstance(default, bool):
        value = WORDS.get(value.strip().lower(), value) if isinstance(value, str) else value
        return ("" if isinstance(value, bool) else f"must be true or false, not {_said(spec, value)}"), value
    if isinstance(default, list):
        texts = isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value)
        if not texts:
            return f"must be a list of texts, not {_said(spec, value)}", value
        return next(filter(None, (text_problem(each, bool(spec.get("path"))) for each in value)), ""), value
    if spec.get("or_number") and type(value) is int:
        value = str(value)
    if not isinstance(value, str):
        return f"must be text, not {_said(spec, value)}; put it in quotes", value
    if not value.strip():
        return "must not be empty", value
    if len(value.encode(errors="replace")) > spec.get("longest", inf):
        return f"must be text of at most {spec['longest']} bytes, not {_said(spec, value)}", value
    return text_problem(value, bool(spec.get("path"))), value


def _number(value: Any, kind: type, allowed: tuple[float, float, str]) -> tuple[str, Any]:
    least, most, unit = allowed
    what = f"must be a {'whole number' if kind is int else 'number'} of {unit} from {least} to {most}"
    number: Any = value
    if isinstance(value, str):
        try:
            number = int(value) if WHOLE.fullmatch(value.strip()) else kind(value)
        except ValueError:
            number = None
        number = number if value.isascii() and "_" not in value else None
    elif isinstance(value, bool) or not isinstance(value, (int, kind)):
        number = None
    if number is None or not least <= number <= most:  # also for NaN
        return f"{what}, not {redact(shown(value))}", value
    return "", kind(number)


def _said(spec: Mapping[str, Any], value: Any) -> str:
    return f"a {type(value).__name__}" if spec.get("sensitive") else f"{redact(shown(value))} ({type(value).__name__})"


def origin(hub: Hub, name: str) -> str:
    """Return where a value came from, as far as that can be known: pop keeps only the values."""
    section, value = _given(hub, name)
    variable = SPECS[name].get("os", "")
    if variable in os.environ and os.environ[variable] == value:
        return f"environment variable {variable}"
    file = hub.evbus.RUNTIME.settings_file
    if file is None:
        return f"hub.OPT.{section}.{name}"
    path, names = file
    if name in names:
        return f"file {path}"
    command: Mapping[str, Any] = conf.CLI_CONFIG
    options = command.get(name, {}).get("options", [])
    return f"command-line option {' or '.join([f'--{name.replace(chr(95), chr(45))}', *options])}"


def serializer_name(hub: Hub) -> str:
    """Return the name of the serializer for profiles that name none.

    It is hub.evbus.SERIAL_PLUGIN if somebody set it, as applications of pop-evbus do, else hub.serialize.PLUGIN if
    somebody set it, else the setting serial_plugin.
    """
    for value in (hub.evbus.SERIAL_PLUGIN, hub.serialize.PLUGIN):
        if not isinstance(value, Default):
            return str(value)
    return str(config(hub, "serial_plugin", hub.serialize.PLUGIN))


def matcher_name(hub: Hub, contexts: Any) -> str:
    """Return the name of the match plugin: of the contexts, else hub.match.PLUGIN if set, else the setting."""
    chosen = contexts.get("match_plugin") if isinstance(contexts, Mapping) else None
    if chosen:
        return str(chosen)
    if not isinstance(hub.match.PLUGIN, Default):
        return str(hub.match.PLUGIN)
    return str(config(hub, "match_plugin", hub.match.PLUGIN))
