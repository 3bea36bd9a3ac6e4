"""The settings file of --config or EVBUS_CONFIG, checked before pop reads it: pop ignores one that does not exist."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from evbus_like import conf
from evbus_like.engine import given_files
from evbus_like.engine.errors import SettingError
from evbus_like.engine.suggest import did_you_mean
from evbus_like.engine.yaml_text import SHOWN_KEY, YamlError, load_yaml
from evbus_like.hub.profiles import settings

OURS = "evbus_like"
MAX_BYTES = 1024 * 1024
INCLUDES = ("include", "include_dir")  # of pop-config
_read: dict[str, Any] = {}  # data by path: a pipe can be read once, and a command may load its settings twice


def load(path: str, source: str) -> Mapping[str, Any]:
    """Return the checked data of a file; raises SettingError. `source` is the option or variable that names it."""
    if path not in _read:
        _read[path] = _load(path, f"the settings file {path} ({source})")
    data: Mapping[str, Any] = _read[path]
    return data


def for_pop(path: str, data: Mapping[str, Any]) -> str:
    """Return a path from which pop reads the same data: its own loader has no bounds, and reads a pipe again."""
    if any(name in data for name in INCLUDES) or not hasattr(os, "memfd_create"):
        return path
    import yaml

    fd = os.memfd_create("evbus settings")  # not closed: pop reads it now, and once more with an application
    os.write(fd, yaml.safe_dump(dict(data), encoding="utf-8"))
    return f"/proc/self/fd/{fd}"


def _load(path: str, what: str) -> Mapping[str, Any]:
    try:
        content, _ = given_files.read(path, MAX_BYTES)
        if content.startswith(b"#!") and content.partition(b"\n")[0].strip() not in (b"#!yaml", b"#!json"):
            raise SettingError(f"{what} must be YAML, and its first line names another renderer")
        data = load_yaml(content, what, text_keys=False, octal=False)  # other packages may have keys of other kinds
    except given_files.UnreadableFile as error:
        raise SettingError(f"{what} {error}") from None
    except YamlError as error:
        raise SettingError(str(error)) from None
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        raise SettingError(f"{what} must be a mapping, such as {OURS}: {{stop_timeout: 10}}, not {type(data).__name__}")
    if wrong := list(_problems(data)):
        raise SettingError(f"{what}: {'; '.join(wrong)}")
    return data


def _problems(data: Mapping[str, Any]) -> Iterator[str]:
    for section, values in data.items():
        if section in INCLUDES:
            continue
        if section in conf.CONFIG and not isinstance(values, Mapping):
            yield f"{section} must be under {OURS}:"
        elif section != OURS and did_you_mean(str(section), [OURS]).startswith("did you mean"):
            yield f"the section {section} is not read; did you mean {OURS!r}?"
        elif not isinstance(values, Mapping):
            name = section if SHOWN_KEY.fullmatch(str(section)) else "whose name is not shown"
            yield f"the section {name} must be a mapping of settings, not {type(values).__name__}"
        elif section == OURS:
            yield from _wrong_settings(values)


def _wrong_settings(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        if not isinstance(name, str):
            yield f"the name of a setting must be text, not {name!r} ({type(name).__name__})"
        elif name in conf.CONFIG:
            if problem := settings.checked(name, value)[0]:
                yield f"setting {name} {problem}"
        elif name not in settings.names_of_pop():
            shown = f" {name}" if SHOWN_KEY.fullmatch(name) else ", and its name is not shown: it may hold a secret"
            yield f"there is no setting{shown}; {did_you_mean(name, conf.CONFIG)}"
