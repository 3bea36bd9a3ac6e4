"""What the subcommands share: credentials, a running bus and signals."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from evbus_like.cli import output
from evbus_like.cli.console import Progress
from evbus_like.cli.errors import UsageError
from evbus_like.engine.account import Account
from evbus_like.engine.errors import CredentialsError
from evbus_like.hub.profiles import credentials, settings
from evbus_like.processes.worker import THIS

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN = 1.0  # seconds after which a signal is a second one
TICK = 0.1  # seconds between two updates of the progress
T = TypeVar("T")


def acct_file(hub: Any) -> str:
    """Return the path of the credentials file; raises CredentialsError if none is named."""
    path = hub.OPT.evbus_like.acct_file
    if not path:
        raise CredentialsError(
            "no credentials file; name one with --acct-file FILE or ACCT_FILE. It maps providers to profiles:"
            " amqp: {default: {connection: {url: amqp://host/}}}"
        )
    return str(path)


async def read_credentials(hub: Any) -> Mapping[str, Any]:
    """Read the credentials file; raises CredentialsError, also if none is named."""
    return await credentials.read(hub, acct_file(hub), hub.OPT.evbus_like.acct_key or None)


async def contexts(hub: Any) -> Any:
    """Return the contexts of the credentials file, which a reload reads again; raises CredentialsError."""
    return await hub.evbus.acct.profiles(acct_file=acct_file(hub), acct_key=hub.OPT.evbus_like.acct_key or None)


def watched(hub: Any) -> str | None:
    """Return the credentials file if this process is to watch it; raises UsageError if there is none."""
    if not settings.config(hub, "watch_credentials", False) or THIS is not None:  # the supervisor watches it for all
        return None
    if not hub.OPT.evbus_like.acct_file:
        raise UsageError("--watch-credentials needs a file: --acct-file FILE, or ACCT_FILE")
    return str(hub.OPT.evbus_like.acct_file)


@asynccontextmanager
async def signals(at_once: bool = False) -> AsyncIterator[asyncio.Event]:
    """Yield an event that SIGINT, SIGTERM or SIGHUP sets; its `number` is then the number of the signal.

    A second signal ends the process, unless it comes within a second: `timeout` sends each to the command and to its
    group. With `at_once`, as for a worker, SIGHUP is left alone and a second SIGINT is no KeyboardInterrupt. A signal
    that the command was started to ignore, as by nohup, is ignored.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    first = 0.0
    numbers = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    if at_once:
        numbers = [each for each in numbers if each != signal.SIGHUP]

    def on_signal(number: int) -> None:
        nonlocal first
        if not stopped.is_set() or not first:
            stopped.number = number  # type: ignore[attr-defined]
            first = time.monotonic()
            stopped.set()
        elif time.monotonic() - first > AGAIN:
            for each in numbers:
                loop.remove_signal_handler(each)
                if at_once:
                    signal.signal(each, signal.SIG_DFL)
            signal.raise_signal(number)

    for each in numbers:
        loop.add_signal_handler(each, on_signal, each)
    try:
        yield stopped
    finally:
        for each in numbers:
            loop.remove_signal_handler(each)
        if first:
            _ignore_repeats(numbers, first)


def _ignore_repeats(numbers: Sequence[signal.Signals], first: float) -> None:
    """Let a signal that repeats the first one not end the process while it ends by itself."""

    def again(number: int, _frame: object) -> None:
        if time.monotonic() - first > AGAIN:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for each in numbers:
        signal.signal(each, again)
    # Python puts back the defaults of its own handlers before it has ended. Threads are over then.
    atexit.register(lambda: [signal.signal(each, signal.SIG_IGN) for each in numbers])


@asynccontextmanager
async def running(hub: Any, given: Mapping[str, Any], at_once: bool = False) -> AsyncIterator[asyncio.Event]:
    """Run the bus; yield the event of `signals`, which is also set if the bus ends by itself."""
    async with signals(at_once) as stopped:
        listener = asyncio.create_task(hub.evbus.init.start(given))
        listener.add_done_callback(lambda _: stopped.set())
        try:
            await hub.evbus.init.join(30.0 + float(settings.config(hub, "lifespan_timeout", 0.0)))
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
        output.results().flush()
        sys.stderr.flush()
        os._exit(code)
