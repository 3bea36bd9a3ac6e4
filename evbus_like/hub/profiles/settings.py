"""Read settings, and tell values that somebody set from defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evbus_like.hub.runtime import Hub

SECTIONS = ("evbus_like", "evbus")  # pop-config keys settings by import name; pop-evbus apps use the second


class Default(str):
    """The default of a setting; a value that is assigned later is an ordinary string."""

    __slots__ = ()


def config(hub: Hub, name: str, default: Any = None) -> Any:
    """Return a setting of the loaded configuration, or `default` if none was loaded."""
    for section in SECTIONS:
        try:
            value = hub.OPT[section][name]
        except (KeyError, AttributeError, TypeError):
            continue
        if isinstance(value, (str, int, float)):  # before a config.load, OPT answers everything with an empty map
            return value
    return default


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
