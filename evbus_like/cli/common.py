"""What the subcommands share: credentials, a running bus and signals."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from evbus_like.cli.console import Progress
from evbus_like.engine.account import Account
from evbus_like.engine.errors import CredentialsError
from evbus_like.hub.profiles import credentials

SIGNALS = (signal.SIGINT, signal.SIGTERM)
TICK = 0.1  # seconds between two updates of the progress
T = TypeVar("T")


async def read_credentials(hub: Any) -> Mapping[str, Any]:
    """Read the credentials file; raises CredentialsError, also if none is named."""
    settings = hub.OPT.evbus_like
    if not settings.acct_file:
        raise CredentialsError(
            "no credentials file; name one with --acct-file FILE or ACCT_FILE. It maps providers to profiles:"
            " amqp: {default: {connection: {url: amqp://host/}}}"
        )
    return await credentials.read(hub, settings.acct_file, settings.acct_key or None)


async def contexts(hub: Any) -> Any:
    """Return the contexts of the credentials file; raises CredentialsError."""
    return await hub.evbus.acct.profiles(acct_data=await read_credentials(hub))


@asynccontextmanager
async def signals(at_once: bool = False) -> AsyncIterator[asyncio.Event]:
    """Yield an event that SIGINT or SIGTERM sets; its `number` is then the number of the signal.

    A second signal ends the process; with `at_once`, SIGINT does so without a KeyboardInterrupt.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        stopped.number = number  # type: ignore[attr-defined]
        stopped.set()
        for each in SIGNALS:
            loop.remove_signal_handler(each)
            if at_once:
                signal.signal(each, signal.SIG_DFL)

    for each in SIGNALS:
        loop.add_signal_handler(each, on_signal, each)
    try:
        yield stopped
    finally:
        for each in SIGNALS:
            loop.remove_signal_handler(each)


@asynccontextmanager
async def running(hub: Any, given: Mapping[str, Any], at_once: bool = False) -> AsyncIterator[asyncio.Event]:
    """Run the bus; yield the event of `signals`, which is also set if the bus ends by itself."""
    async with signals(at_once) as stopped:
        listener = asyncio.create_task(hub.evbus.init.start(given))
        listener.add_done_callback(lambda _: stopped.set())
        try:
            await hub.evbus.init.join()
            yield stopped
        finally:
            await hub.evbus.init.stop(0)
            await asyncio.wait([listener])
            if not listener.cancelled():
                listener.exception()  # join has raised it


async def drain(hub: Any, timeout: float, progress: Progress, text: Callable[[], str]) -> Account:
    """Stop the bus within `timeout` seconds, show the progress, and return the account."""
    stopping = asyncio.create_task(hub.evbus.init.stop(timeout))
    while not stopping.done():
        progress.show(text())
        await asyncio.wait([stopping], timeout=TICK)
    account: Account = await stopping
    return account


async def unless_stopped(stopped: asyncio.Event, coroutine: Coroutine[Any, Any, T]) -> T | None:
    """Return the result of a coroutine, or None if a signal comes first."""
    task, asked = asyncio.create_task(coroutine), asyncio.create_task(stopped.wait())
    await asyncio.wait([task, asked], return_when=asyncio.FIRST_COMPLETED)
    for each in (task, asked):
        each.cancel()
    await asyncio.wait([task, asked])
    return None if task.cancelled() else task.result()


def troubles(hub: Any) -> str:
    """Name the destinations that have a problem, for the progress."""
    bad = [
        f"{name} {lane['state']}" for name, lane in hub.evbus.init.status()["destinations"].items() if lane["trouble"]
    ]
    return f" ({', '.join(bad[:3])})" if bad else ""


def leave_threads(command: str, code: int) -> None:
    """End the process if a sync handler still runs in its thread: Python would wait for it at exit."""
    deadline = time.monotonic() + 1.0
    workers = [each for each in threading.enumerate() if each.name.startswith("evbus_like ") and not each.daemon]
    for thread in workers:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = [thread.name for thread in workers if thread.is_alive()]
    if late:
        print(f"evbus {command}: abandoned while still running: {', '.join(sorted(late))}", file=sys.stderr)
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
