"""What makes `evbus run` visible from outside: its Unix socket, and its HTTP port if it has one."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from evbus_like.hub import monitoring
from evbus_like.hub.profiles import settings
from evbus_like.processes.worker import THIS


@asynccontextmanager
async def opened(hub: Any) -> AsyncIterator[str | None]:
    """Open both until the block ends; yield the URL of the port. A worker has no port: its supervisor has."""
    url = None
    if settings.config(hub, "http") and THIS is None:
        url = await hub.evbus.http.start()
        print(f"evbus run: HTTP port {url}", file=sys.stderr, flush=True)
    await monitoring.of(hub).open_socket()
    try:
        yield url
    finally:
        await monitoring.of(hub).close()
