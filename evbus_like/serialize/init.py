"""hub.serialize: how bodies become bytes. `hub.serialize.PLUGIN` names the format where a profile does not."""

from evbus_like.hub.profiles import settings


def __init__(hub):
    hub.serialize.PLUGIN = settings.Default("json")


def dump(hub, data) -> bytes:
    """Serialize with the plugin that is set."""
    return hub.serialize[hub.serialize.PLUGIN].dump(data)


def load(hub, data: bytes):
    """Load with the plugin that is set."""
    return hub.serialize[hub.serialize.PLUGIN].load(data)
