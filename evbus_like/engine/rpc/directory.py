"""The directory: profiles and exchanges of services, from a services file or from code."""

from __future__ import annotations

from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as IniError
from dataclasses import dataclass
from typing import Any

from evbus_like.engine.errors import HandlerError
from evbus_like.engine.given_files import UnreadableFile, expanded, read
from evbus_like.engine.yaml_text import YamlError, load_yaml

MAX_BYTES = 1024 * 1024
KEYS = ("profile", "exchange", "notifications")
REST = "*"  # the entry for services without one


@dataclass(frozen=True)
class Route:
    """The route to a service; empty fields have their defaults.

    `profile` carries its calls over `exchange`; `notifications` is the exchange of the service's own events.
    """

    profile: str = ""
    exchange: str = ""
    notifications: str = ""


def load(path: str) -> dict[str, Route]:
    """Read a services file, YAML or tavrida's INI; raises HandlerError, which says what is wrong and where."""
    try:
        text = read(str(expanded(path)), MAX_BYTES)[0].decode()
    except UnreadableFile as error:
        raise HandlerError(f"the services file {path} {error}") from None
    except (UnicodeDecodeError, RuntimeError) as error:
        raise HandlerError(f"the services file {path} cannot be read: {error}") from None
    try:
        entries = _ini(text) if _looks_like_ini(path, text) else _yaml(text)
    except HandlerError as error:
        raise HandlerError(f"the services file {path}: {error}") from None
    return {name: route(name, entry, f"the services file {path}: ") for name, entry in entries.items()}


def route(name: Any, entry: Any, where: str = "") -> Route:
    """Check one entry; raises HandlerError."""
    if not isinstance(name, str) or not name:
        raise HandlerError(f"{where}the name of a service must be text, not {name!r}")
    if entry is None:
        return Route()
    if not isinstance(entry, Mapping):
        raise HandlerError(f"{where}service {name!r} has {entry!r}, and needs a mapping of {', '.join(KEYS)}")
    for key, value in entry.items():
        if key not in KEYS:
            raise HandlerError(f"{where}service {name!r} has an unknown key {key!r}; there are {', '.join(KEYS)}")
        if not isinstance(value, str):
            raise HandlerError(f"{where}service {name!r}: {key} must be text, not {value!r}")
    return Route(**entry)


def _looks_like_ini(path: str, text: str) -> bool:
    if path.endswith((".yml", ".yaml", ".json")):
        return False
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and line[0] not in "#;"), "")
    return first.startswith("[") and "]" in first


def _ini(text: str) -> dict[str, Any]:
    parser = ConfigParser(interpolation=None, default_section="", delimiters=("=",))
    try:
        parser.read_string(text)
    except IniError as error:
        raise HandlerError(f"no INI: {' '.join(str(error).split())}") from None
    return {name: dict(parser[name]) for name in parser.sections()}


def _yaml(text: str) -> dict[str, Any]:
    try:
        entries = load_yaml(text, "the text", text_keys=False)
    except YamlError as error:
        raise HandlerError(f"no YAML: {error}") from None
    if entries is None:
        return {}
    if not isinstance(entries, dict):
        raise HandlerError("it must map names of services to their profile, exchange and notifications")
    return entries
