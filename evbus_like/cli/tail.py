"""`evbus tail`: show the events of a service as they arrive, through a temporary queue of its own."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from evbus_like.cli import arrivals, common, output, shown
from evbus_like.cli.dead import follow
from evbus_like.cli.errors import UsageError
from evbus_like.engine import suggest
from evbus_like.engine.receiving.consumer import Consumer
from evbus_like.engine.receiving.group import Group
from evbus_like.engine.receiving.handler import Handler, HandlerOptions
from evbus_like.engine.receiving.invoker import HandlerInvoker
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.rules import ACK_AND_LOG
from evbus_like.engine.receiving.subscription import BROADCAST, Subscription
from evbus_like.hub import decoding
from evbus_like.hub.profiles.settings import config
from evbus_like.hub.profiles.source import PluginSource
from evbus_like.hub.profiles.sources import Sources

NAME = "tail"
PREFETCH = 100
ANY_SIZE = 2**62  # also show events that are too large for handlers


async def run(hub: Any) -> int:
    """Show events until a signal, or until --count have arrived."""
    settings, count = hub.OPT.evbus_like, config(hub, "count")
    if settings.follow_dead:
        if settings.source_profile or settings.service or settings.since:
            raise UsageError("--follow-dead shows dead letters of all profiles: name none, nor --service or --since")
        return await follow.run(hub, count)
    if not settings.source_profile:
        raise UsageError("name the PROFILE whose events to show, or --follow-dead for dead letters")
    since = begin(settings.since)
    source = one_source(Sources(hub, await common.contexts(hub)), settings.source_profile)
    if since is not None and not source.rewinds:
        raise UsageError(f"--since is for sources that can rewind, such as Kafka, and {source.name} cannot")
    options = HandlerOptions(
        source=settings.service or service_of(source),
        event_types=(settings.key_pattern,),
        delivery=BROADCAST,
        reliable=False,
        on_error=ACK_AND_LOG,
        max_workers=1,  # one after another, in their order
    )
    if problem := options.problem():
        raise UsageError(problem)
    show = arrivals.Lines() if settings.json else arrivals.Pretty()
    view = View(show, decoding.of_source(hub, source), count)
    group = Group()
    group.start([_consumer(hub, source, options, since, view, group)])
    async with common.signals() as stopped:
        say = asyncio.create_task(_report_when_receiving(group, source, options))
        try:
            await view.done_or(stopped)
        finally:
            say.cancel()
            await group.stop(2.0)
    number = getattr(stopped, "number", None)
    return 128 + int(number) if number is not None and count is not None else 0


def begin(text: str | None) -> Any:
    """Parse --since; raises UsageError."""
    if text is None or text in ("earliest", "latest"):
        return text
    try:
        if text.isascii() and text.isdigit():
            return int(text)
        return datetime.now(UTC) - timedelta(seconds=shown.seconds(text))
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--since {suggest.shown(text)}: write earliest, latest, a time such as 2026-01-31T12:00, how long ago"
            " (15m, 2h, 3d), or an offset"
        ) from None


def one_source(sources: Sources, name: str) -> PluginSource:
    """Return the source of a profile; raises UsageError for one in memory, or an ambiguous name."""
    found = sources.named(name)
    outside = [each for each in found if not each.name.startswith("internal:")]
    if not outside:
        raise UsageError(
            f"{found[0].name} is in the memory of another process, which no other can read. Use a profile of a broker,"
            " or read the queue in that process: `await hub.ingress.internal.get(...)`"
        )
    if len(outside) > 1:
        raise UsageError(f"several providers have a profile {name!r}; say which: {', '.join(e.name for e in outside)}")
    return outside[0]


def service_of(source: PluginSource) -> str:
    """Return the service of the exchange or topic that the profile names; raises UsageError if it names none."""
    data = source.ctx.acct
    topics = data.get("topics") or ()
    place = data.get("exchange") or (topics if isinstance(topics, str) else next(iter(topics), ""))
    if not place or place == "default":
        raise UsageError(
            f"name the service: --service SERVICE; the profile {source.name} names no exchange or topic, so its events"
            " come from SERVICE.events"
        )
    return str(place).removesuffix(".events")


def _consumer(
    hub: Any, source: PluginSource, options: HandlerOptions, since: Any, view: View, group: Group
) -> Consumer:
    subscription = Subscription(
        source=options.source,
        event_types=options.event_types,
        service="evbus",
        name=NAME,
        delivery=BROADCAST,
        reliable=False,
        prefetch=PREFETCH,
        since=since,
        identifier=uuid.uuid4().hex,
    )
    source.check(subscription)
    handler = Handler(f"evbus {NAME}", "evbus", NAME, view.take, True, options)
    return Consumer(
        HandlerInvoker(handler, view.decode, hub.evbus.RUNTIME.bus, ANY_SIZE), source, subscription, group.shut_down
    )


async def _report_when_receiving(group: Group, source: PluginSource, options: HandlerOptions) -> None:
    for consumer in group.consumers:
        await consumer.subscribed.wait()
    what = f"{options.source}: {', '.join(options.event_types)}"
    print(f"evbus tail: receiving {what} from {source.name}; Ctrl-C stops", file=sys.stderr, flush=True)


class View:
    """Shows events, and counts them."""

    def __init__(self, show: Callable[[ReceivedEvent], None], decode: Callable[[ReceivedEvent], Any], most: int | None):
        self._show = show
        self._decode = decode
        self._left = most
        self._done = asyncio.Event()

    def decode(self, event: ReceivedEvent) -> Any:
        """Return the decoded body, or the bytes if it cannot be decoded."""
        try:
            return self._decode(event)
        except Exception:
            return event.raw

    async def take(self, event: ReceivedEvent) -> None:
        """Show an event."""
        if self._done.is_set():
            return
        self._show(event)
        if output.cannot_be_written():  # the reader has exited, as in `| head`, or it is full
            self._done.set()
            return
        if self._left is not None:
            self._left -= 1
            if not self._left:
                self._done.set()

    async def done_or(self, stopped: asyncio.Event) -> None:
        """Wait until --count events were shown, or until a signal."""
        tasks = [asyncio.create_task(each.wait()) for each in (self._done, stopped)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
