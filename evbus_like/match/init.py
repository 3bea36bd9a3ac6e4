"""hub.match: whether a profile's name, as a pattern, matches the profile of an event."""

from typing import Any

from evbus_like.hub.profiles import settings


def __init__(hub: Any) -> None:
    hub.match.PLUGIN = settings.Default("glob")


def find(hub: Any, name: str, pattern: str) -> bool:
    """Return whether the pattern matches, by the plugin `hub.match.PLUGIN`."""
    return bool(hub.match[hub.match.PLUGIN].find(name, pattern))
