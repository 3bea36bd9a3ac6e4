"""hub.evbus.http: the HTTP port that shows the bus to probes, scrapers and people."""

from evbus_like.hub import runtime


async def start(
    hub: runtime.Hub, address: str | None = None, token: str | None = None, open_to_all: bool | None = None
) -> str:
    """Open the HTTP port in this event loop, and return its URL; it is closed when the bus stops.

    `address` is "PORT" or "HOST:PORT"; without a host, only this machine can reach it. Any other host needs a `token`
    that readers send, or `open_to_all`. None means the settings http, http_token and http_open. It may be opened before
    the bus is started. Raises SettingError, which says what is wrong, and LifecycleError if it is open already.
    """
    from evbus_like.hub import monitoring  # a program that opens no port does not need it

    return await monitoring.of(hub).open_port(monitoring.access(hub, address, token, open_to_all))


async def stop(hub: runtime.Hub) -> None:
    """Close the HTTP port, if it is open."""
    if hub.evbus.RUNTIME.monitor is not None:
        await hub.evbus.RUNTIME.monitor.close_port()
