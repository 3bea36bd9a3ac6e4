"""Settings: where a value comes from, and whether somebody set it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evbus_like.hub.runtime import Hub

SECTIONS = ("evbus_like", "evbus")  # pop-config keys settings by import name; pop-evbus apps use the second


class Default(str):
    """A setting's built-in value; what anybody assigns later is an ordinary string and so can be told from it."""

    __slots__ = ()


def config(hub: Hub, name: str, default: Any = None) -> Any:
    """Give a setting of the loaded configuration, or `default` where none was loaded."""
    for section in SECTIONS:
        try:
            value = hub.OPT[section][name]
        except (KeyError, AttributeError, TypeError):
            continue
        if isinstance(value, (str, int, float)):  # before a config.load, OPT answers everything with an empty map
            return value
    return default


def serializer_name(hub: Hub) -> str:
    """Give the name of the serializer for profiles that choose none.

    hub.evbus.SERIAL_PLUGIN where somebody set it (as pop-evbus apps do), else hub.serialize.PLUGIN where somebody
    set it, else the configuration's serial_plugin.
    """
    for value in (hub.evbus.SERIAL_PLUGIN, hub.serialize.PLUGIN):
        if not isinstance(value, Default):
            return str(value)
    return str(config(hub, "serial_plugin", hub.serialize.PLUGIN))


def matcher_name(hub: Hub, contexts: Any) -> str:
    """Give the name of the match plugin: the contexts' own, else hub.match.PLUGIN if set, else the configuration's."""
    chosen = contexts.get("match_plugin") if isinstance(contexts, Mapping) else None
    if chosen:
        return str(chosen)
    if not isinstance(hub.match.PLUGIN, Default):
        return str(hub.match.PLUGIN)
    return str(config(hub, "match_plugin", hub.match.PLUGIN))
