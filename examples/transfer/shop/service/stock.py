"""The service stock."""

import evbus_like.handlers as evbus


async def take(hub, item):
    """Take one; the headers of the first request are here, too."""
    print("stock: the chain began with", evbus.current().headers["correlation-id"], "for", _tenant())
    return 6


def _tenant():
    return evbus.current().headers["nameko.tenant"]
