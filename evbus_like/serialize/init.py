"""hub.serialize: how bodies become bytes. `hub.serialize.PLUGIN` is the format of profiles that name none."""

from typing import Any

from evbus_like.hub.profiles import settings


def __init__(hub: Any) -> None:
    hub.serialize.PLUGIN = settings.Default("json")


def dump(hub: Any, data: Any) -> bytes:
    """Serialize a body with the plugin `hub.serialize.PLUGIN`."""
    dumped: bytes = hub.serialize[hub.serialize.PLUGIN].dump(data)
    return dumped


def load(hub: Any, data: bytes) -> Any:
    """Return the body that was serialized with the plugin `hub.serialize.PLUGIN`."""
    return hub.serialize[hub.serialize.PLUGIN].load(data)
