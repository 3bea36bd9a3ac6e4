"""`evbus run`: run a bus with the handlers and services of applications until a signal or a handler ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from evbus_like.cli import application, common, console, output, seen, shown, tables
from evbus_like.engine.account import Account
from evbus_like.engine.errors import HandlerShutdown, LifecycleError, SettingError
from evbus_like.engine.receiving.consumer import Consumer
from evbus_like.engine.receiving.deaths import Deaths
from evbus_like.engine.receiving.group import Group
from evbus_like.engine.receiving.threads import ContextThreads
from evbus_like.engine.signals import reload_on_signal
from evbus_like.hub import interface, outbox, outbox_place
from evbus_like.hub.application import handlers, lifespan, responses, services
from evbus_like.hub.profiles import plan, settings
from evbus_like.processes.announce import Announcer
from evbus_like.processes.watch import watching
from evbus_like.processes.worker import THIS

NOW = ("busy", "running", "source")  # facts of handlers that are not for the counts at the end
IN_MEMORY = {"internal": {"default": None}}


async def run(hub: Any) -> int:
    """Run bus, services and handlers; return 0 after a signal, 1 if something failed or is lost."""
    if hub.OPT.evbus_like.reload:
        from evbus_like.cli import restarting

        if not restarting.is_child():
            return await restarting.run()
    wanted = settings.config(hub, "processes")
    if wanted is not None and THIS is None:
        from evbus_like.cli import processes

        return await processes.run(hub, wanted)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, reload_later)  # until the bus runs
    announcer = Announcer()
    announcer.loading()
    return await _run(hub, THIS or (output.results() if hub.OPT.evbus_like.json else None), announcer)


def reload_later(number: int, _frame: object) -> None:
    """Ignore a SIGHUP that comes before the bus runs: it reads its profiles now anyhow."""


def _deaths(hub: Any) -> Deaths | None:
    """Return the notes of events that end their worker, beside the outbox; None if there is no place for them."""
    try:
        return Deaths((outbox.configured(hub) or outbox_place.default_path(hub)).parent / "under-way")
    except SettingError:  # no home folder
        return None


async def _run(hub: Any, json_to: console.Lines | None, announcer: Announcer) -> int:
    asyncio.get_running_loop().set_default_executor(ContextThreads(thread_name_prefix="evbus run"))
    hub.evbus.RUNTIME.deaths = _deaths(hub)
    application.load(hub)
    options, file = hub.OPT.evbus_like, common.watched(hub)
    application.check(hub)
    given: Any = IN_MEMORY
    if options.acct_file:
        given = await common.contexts(hub)
    elif THIS is None or THIS.number == 1:
        print(
            "evbus run: no credentials file, so the only profile is internal:default, in the memory of this process."
            " For a broker: --acct-file FILE, or ACCT_FILE",
            file=sys.stderr,
            flush=True,
        )
    if THIS is not None:
        prove(hub, given)
        THIS.wait_for_turn()
    async with seen.opened(hub) as url, common.running(hub, given, at_once=True) as stopped:
        changed = announced_reload(hub, announcer)
        await hub.evbus.rpc.start(only=options.only, skip=options.skip)
        await hub.evbus.handlers.start(only=options.only, skip=options.skip)
        worker = Worker(hub, json_to, announcer, url)
        async with announcer.living(worker.facts), watching(file, changed):
            reason, failed = await worker.until_it_ends(stopped)
            timeout = float(settings.config(hub, "stop_timeout", 30.0))
            announcer.stopping(timeout)
            worker.stopping(reason)
            with console.Progress("stopping" if THIS is None else f"worker {THIS.number} stops") as progress:
                account = await common.drain(hub, timeout, progress, worker.so_far)
    code = worker.ended(reason, failed, account)
    common.leave_threads("run", code)
    return code


def prove(hub: Any, given: Any) -> None:
    """Raise what a start would raise about profiles, handlers and services, before another worker ends for this one."""
    only, skip = hub.OPT.evbus_like.only, hub.OPT.evbus_like.skip
    plan.entries(hub, given, hub.evbus.RUNTIME.reporter)
    found = [handlers.looked_up(hub, only, skip), responses.looked_up(hub, only, skip)]
    handlers.refuse([problem for _, wrong in found for problem in wrong])
    services.found(hub, only, skip)
    lifespan.load(hub)


def announced_reload(hub: Any, announcer: Announcer) -> Callable[[], None]:
    """Reload at SIGHUP, and announce it; returns a function that reloads because the credentials file has changed."""

    async def reload() -> Any:
        with announcer.reloading():
            return await hub.evbus.init.reload()

    return partial(reload_on_signal(reload), "the credentials file has changed")


class Worker:
    """Reports what the worker does: tables for people, JSON lines for machines."""

    def __init__(self, hub: Any, json_to: console.Lines | None, announcer: Announcer, url: str | None = None) -> None:
        self._hub = hub
        self._json_to = json_to
        self._announcer = announcer
        self._group: Group = hub.evbus.RUNTIME.handlers
        self._serving: Group = hub.evbus.RUNTIME.services
        handlers = [described(each) for each in self._group.consumers]
        services = [service(each) for each in self._serving.consumers]
        if json_to is not None:
            said = {"event": "started", "pid": os.getpid(), "http": url, "handlers": handlers, "services": services}
            if THIS is not None and settings.config(hub, "http"):  # the supervisor shows it on its port
                said["interface"] = interface.of(hub)
            console.line(said, self._json_to)
            return
        tables.started(handlers, services, f"process {os.getpid()}")

    @property
    def _consumers(self) -> list[Consumer]:
        return [*self._group.consumers, *self._serving.consumers]

    async def until_it_ends(self, stopped: asyncio.Event) -> tuple[str, bool]:
        """Wait for a signal, a handler that ends the worker, or the end of the bus; return why, and if it failed.

        Reports once when all handlers and services receive.
        """
        ended = asyncio.create_task(self._group.ended())  # services do not end a worker
        asked = asyncio.create_task(stopped.wait())
        receiving = asyncio.create_task(self._when_receiving())
        try:
            await asyncio.wait([ended, asked], return_when=asyncio.FIRST_COMPLETED)
        finally:
            receiving.cancel()
            asked.cancel()
            ended.cancel()
            await asyncio.wait([receiving, asked, ended])
        if not ended.cancelled() and isinstance(error := ended.exception(), HandlerShutdown):
            return str(error), True
        number = getattr(stopped, "number", None)
        return ("the bus ended by itself", True) if number is None else (signal.Signals(number).name, False)

    def facts(self) -> dict[str, int]:
        """Count what was handled so far, and what is being handled."""
        return {
            "handled": sum(each.stats.handled for each in self._consumers),
            "busy": sum(each.busy for each in self._consumers),
        }

    async def _when_receiving(self) -> None:
        for consumer in self._consumers:
            await consumer.subscribed.wait()
        self._announcer.receiving()
        self._report_receiving()
        await self._start_application()

    def _report_receiving(self) -> None:
        if THIS is not None:
            return
        if self._json_to is not None:
            console.line({"event": "receiving"}, self._json_to)
        else:
            both = ((self._group, "every handler receives"), (self._serving, "every service can be called"))
            ready = " and ".join(text for group, text in both if group.consumers)
            print(f"evbus run: {ready}; SIGTERM or Ctrl-C stops", file=sys.stderr, flush=True)

    async def _start_application(self) -> None:
        """Run what the application does when its handlers receive; if that fails, the worker ends."""
        try:
            await lifespan.ready(self._hub)
        except LifecycleError as error:
            self._group.shut_down(str(error))

    def stopping(self, reason: str) -> None:
        """Report why it stops, and what happens now."""
        if self._json_to is not None:
            console.line({"event": "stopping", "reason": reason}, self._json_to)
        if THIS is not None:
            return
        what = "handlers and calls" if self._serving.consumers else "handlers"
        text = f"running {what} finish, and the events they put are delivered; a second signal ends at once"
        print(f"evbus run: {reason}: {text}", file=sys.stderr, flush=True)

    def so_far(self) -> str:
        """Describe what the stop waits for."""
        account = self._hub.evbus.init.account()
        busy = sum(each.busy for each in self._consumers)
        return f"{shown.many(busy, 'call')} running, {account.remaining} events to deliver" + common.troubles(self._hub)

    def ended(self, reason: str, failed: bool, account: Account) -> int:
        """Print the counts and the account, and return the exit code."""
        unhandled = _in_memory(self._hub)
        code = 1 if failed or account.remaining or account.queued or unhandled else 0
        if unhandled:
            print(f"evbus run: {unhandled} events in memory were not handled and are lost", file=sys.stderr)
        served = [requests(each) for each in self._serving.consumers]
        status = self._group.status()
        if self._json_to is not None:
            counts = [
                {"queue": name, **{key: facts[key] for key in facts if key not in NOW}}
                for name, facts in status.items()
            ]
            said = {"event": "stopped", "reason": reason, "exit_code": code, "unhandled_in_memory": unhandled}
            counted = {"handlers": counts, "services": served}
            console.line({**said, **counted, "account": account.as_dict()}, self._json_to)
            return code
        tables.stopped(reason, list(status.values()), served, account)
        return code


def described(consumer: Consumer) -> dict[str, str]:
    """Describe the handler of a consumer as plain data."""
    handler, subscription = consumer.invoker.handler, consumer.subscription
    return {
        "handler": f"{handler.service}.{handler.name}",
        "events": f"{subscription.source}: {', '.join(subscription.event_types)}",
        "delivery": subscription.delivery + ("" if subscription.reliable else ", not reliable"),
        "source": consumer.source.name,
        "queue": subscription.queue,
    }


def service(consumer: Consumer) -> dict[str, Any]:
    """Describe the service of a consumer as plain data."""
    invoker: Any = consumer.invoker
    return {
        "service": invoker.service,
        "methods": sorted(invoker.methods),
        "source": consumer.source.name,
        "queue": consumer.subscription.queue,
    }


def requests(consumer: Consumer) -> dict[str, Any]:
    """Return the counts of requests to a service as plain data."""
    invoker: Any = consumer.invoker
    stats = consumer.stats.as_dict()
    named = {"service": invoker.service, "source": consumer.source.name}
    return {**named, **{name: stats[counted] for name, counted in tables.REQUESTS.items()}}


def _in_memory(hub: Any) -> int:
    """Count the events and requests that wait in memory: they end with this process."""
    return sum(
        len(binding.mailbox.items)
        for exchange in hub.ingress.internal.EXCHANGES.values()
        for binding in exchange.bindings.values()
    )
