"""What the subcommands share: the credentials, a running bus, and signals."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from evbus_like.cli.console import Progress
from evbus_like.engine.account import Account
from evbus_like.engine.errors import CredentialsError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
TICK = 0.1  # seconds between two looks at how far it is


async def contexts(hub: Any, needed: bool) -> Any:
    """Give the contexts of the credentials file; raises CredentialsError where one is needed and none was named."""
    path = hub.OPT.evbus_like.acct_file
    if not path:
        if needed:
            raise CredentialsError(
                "no credentials file: name it with --acct-file FILE or ACCT_FILE; it maps providers to profiles:"
                " amqp: {default: {connection: {url: amqp://user:password@host/}}}"
            )
        return None
    return await hub.evbus.acct.profiles(path, hub.OPT.evbus_like.acct_key or None)


@asynccontextmanager
async def running(hub: Any, given: Mapping[str, Any]) -> AsyncIterator[asyncio.Event]:
    """Run the bus; gives an event that SIGINT or SIGTERM sets. A second signal ends the process as usual."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        stopped.number = number  # type: ignore[attr-defined]
        stopped.set()
        for each in SIGNALS:
            loop.remove_signal_handler(each)

    for each in SIGNALS:
        loop.add_signal_handler(each, on_signal, each)
    listener = asyncio.create_task(hub.evbus.init.start(given))
    try:
        await hub.evbus.init.join()
        yield stopped
    finally:
        await hub.evbus.init.stop(0)
        await asyncio.wait([listener])
        if not listener.cancelled():
            listener.exception()  # join raised it already
        for each in SIGNALS:
            loop.remove_signal_handler(each)


async def drain(hub: Any, timeout: float, progress: Progress, text: Callable[[], str]) -> Account:
    """Stop the bus within `timeout` seconds, showing progress, and give its account."""
    stopping = asyncio.create_task(hub.evbus.init.stop(timeout))
    while not stopping.done():
        progress.show(text())
        await asyncio.wait([stopping], timeout=TICK)
    return await stopping


def troubles(hub: Any) -> str:
    """Name the destinations in trouble, for a line of progress."""
    bad = [
        f"{name} {lane['state']}" for name, lane in hub.evbus.init.status()["destinations"].items() if lane["trouble"]
    ]
    return f" ({', '.join(bad[:3])})" if bad else ""
