"""hub.match: whether a profile's name, taken as a pattern, matches an event's profile."""

from evbus_like.hub.profiles import settings


def __init__(hub):
    hub.match.PLUGIN = settings.Default("glob")


def find(hub, name: str, pattern: str) -> bool:
    """Match with the plugin that is set."""
    return hub.match[hub.match.PLUGIN].find(name, pattern)
