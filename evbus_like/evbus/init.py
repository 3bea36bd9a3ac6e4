"""hub.evbus: the bus on the hub. Start it, join it, stop it."""

import asyncio
import time
from typing import TYPE_CHECKING, Any

from evbus_like.engine import bus as engine_bus
from evbus_like.engine import put as engine_put
from evbus_like.engine import signals as engine_signals
from evbus_like.engine.account import Account
from evbus_like.hub import conflict, plugins, reporter, runtime, starting
from evbus_like.hub.application import events, lifespan, rpc_proxy
from evbus_like.hub.profiles import settings

if TYPE_CHECKING:  # a start stays short
    from evbus_like.engine.sending.reload import Reloaded
    from evbus_like.hub import background as in_background


def __init__(hub: runtime.Hub) -> None:
    """Add the other dynes to the hub and make the bus; from here on, events may be put."""
    conflict.refuse()
    for dyne in ("acct", "crypto", "rend", "output", "serial", "log"):  # acct brings all but the last
        plugins.add_later(hub, dyne)
    for dyne in ("ingress", "egress", "serialize", "match", "event"):
        plugins.add(hub, dyne)
    hub.evbus.SERIAL_PLUGIN = settings.Default("json")
    hub.evbus.STARTED = False
    report = reporter.Reporter(hub.__getitem__)
    bus = engine_bus.Bus(report)
    hub.evbus.BUS = bus.intake
    broken = {dyne: plugins.broken(hub[dyne]) for dyne in ("ingress", "egress", "serialize", "match")}
    hub.evbus.RUNTIME = runtime.Runtime(bus, engine_put.Putter(bus), report, broken)
    events.bind(hub)


async def start(hub: runtime.Hub, contexts: runtime.Contexts | None = None) -> None:
    """Run the bus until `stop`: run this as a task, and await `join` before relying on it.

    `contexts` is what `hub.evbus.acct.profiles` returns, or a plain mapping {provider: {profile: data}}. Raises
    ProfileError that names every wrong profile, DeclarationError that names every wrong declared event, HandlerError
    for middleware and lifespan plugins, and LifecycleError if the bus runs already, or a lifespan function failed;
    `join` raises the same. If a broker cannot be reached, its events wait.
    """
    prepared = await starting.prepare(hub, contexts)
    async with starting.beside(hub, prepared):
        await hub.evbus.RUNTIME.bus.run(prepared.entries, prepared.box)


async def join(hub: runtime.Hub, timeout: float = 30.0) -> None:
    """Wait until the bus runs; raises what `start` raised, or TimeoutError after `timeout` seconds."""
    await hub.evbus.RUNTIME.bus.join(settings.checked_timeout(timeout))


async def stop(hub: runtime.Hub, timeout: float | None = None) -> Account:
    """Stop the handlers, refuse new events, deliver what is queued, close every connection, and return the account.

    The application's lifespan functions `stop` run after the last event, and before new events are refused.

    It takes at most `timeout` seconds (None: the setting stop_timeout, 30). A destination that is down has the setting
    stop_grace (2) to come back; the error callback gets each event that is lost then. In the account,
    accepted = delivered + spilled + dead_lettered + dropped + expired + remaining.
    """
    hub.evbus.RUNTIME.bus.require_not_forked()  # before anything is closed: it is the parent's
    timeout = settings.stop_timeout(hub, timeout)
    begun = time.monotonic()
    await asyncio.gather(hub.evbus.handlers.stop(timeout), hub.evbus.rpc.stop(timeout))
    await rpc_proxy.close(hub)
    await lifespan.stop(hub, timeout - (time.monotonic() - begun))
    if hub.evbus.RUNTIME.databases is not None:
        hub.evbus.RUNTIME.databases.stop_reading()
    return await hub.evbus.RUNTIME.bus.stop(max(0.0, timeout - (time.monotonic() - begun)))


def background(hub: runtime.Hub, contexts: Any = None, timeout: float | None = None) -> "in_background.Background":
    """Return a context manager that runs the bus in a thread of its own, for programs without an event loop.

    `contexts` is what `start` takes, or the coroutine `hub.evbus.acct.profiles(...)`. At the end of the block the bus
    stops, within `timeout` seconds (None: the setting stop_timeout). The object has `put` and `dispatch`, which block,
    and, after the block, `account`. Raises what `start` raises, and LifecycleError in an event loop.
    """
    from evbus_like.hub import background as in_background

    return in_background.Background(hub, contexts, timeout)


async def reload(
    hub: runtime.Hub, contexts: runtime.Contexts | None = None, timeout: float | None = None
) -> "Reloaded":
    """Change the profiles of the running bus without losing an event, and return what has changed.

    `contexts` is what `start` takes; without it the file that `hub.evbus.acct.profiles` read last is read again. It
    returns when old connections are closed and removed profiles have delivered their events, after about `timeout`
    seconds at most (None: the setting stop_timeout, 30). The result has `changed`, `added`, `removed` and `unchanged`.

    Raises what `acct.profiles` and `start` raise, and LifecycleError if no bus runs; then nothing has changed.
    """
    from evbus_like.hub.profiles import reload as reloading

    return await reloading.reload(hub, contexts, settings.stop_timeout(hub, timeout))


def reload_on_signal(hub: runtime.Hub, timeout: float | None = None) -> None:
    """Make SIGHUP reload a running bus from its credentials file; the log says what changed, or what is wrong."""
    settings.stop_timeout(hub, timeout)
    engine_signals.reload_on_signal(lambda: reload(hub, timeout=timeout))


def stop_on_signals(hub: runtime.Hub, timeout: float | None = None) -> None:
    """Make SIGTERM and SIGINT stop a running bus, within `timeout` seconds (None: the setting stop_timeout).

    The bus refuses new puts, delivers what is queued, and logs the outcome of every event; then the task of `start`
    ends. Do the rest of the shutdown after that.
    """
    settings.stop_timeout(hub, timeout)
    engine_signals.stop_on_signals(lambda: stop(hub, timeout))


def account(hub: runtime.Hub) -> Account:
    """Return the account as it is now, without stopping."""
    return hub.evbus.RUNTIME.bus.account()


def status(hub: runtime.Hub) -> dict[str, Any]:
    """Return the state of the bus, of the outbox and of every destination, as plain data; cheap, at any time.

    A `state` is "starting", "open", "retrying", "blocked", "refused" or "closed". `queued` counts a lane's events in
    memory, `behind` those in the outbox that come after them. `oldest_age` is in seconds.
    """
    now = hub.evbus.RUNTIME
    return now.bus.status() | {
        "postgres": now.databases.status() if now.databases is not None else {},
        "rates": now.rates.status() if now.rates is not None else None,
    }


def cli(hub: runtime.Hub) -> None:
    """Run the `evbus` command and exit with its code."""
    from evbus_like import scripts

    scripts.run(hub)
