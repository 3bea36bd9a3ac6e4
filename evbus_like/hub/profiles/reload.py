"""Reloading: profiles read again while the bus runs, and compared with those that it has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from evbus_like.engine.errors import CredentialsError, LifecycleError
from evbus_like.engine.sending import reload as engine_reload
from evbus_like.engine.sending.reload import Reloaded
from evbus_like.engine.sending.router import Entry
from evbus_like.hub import outbox
from evbus_like.hub.profiles import plan
from evbus_like.hub.profiles.destination import PluginDestination

log = logging.getLogger("evbus_like.profiles")


class Source:
    """Where a hub's profiles come from, and the reload that is under way; its repr shows no key."""

    def __init__(self) -> None:
        self.again: Callable[[], Awaitable[Any]] | None = None  # reads the file once more
        self.task: asyncio.Task[Reloaded] | None = None
        self._matcher: Any = None

    def started_with(self, contexts: Any) -> None:
        """Remember what an application adds to the contexts of a file."""
        self._matcher = contexts.get("match_plugin") if isinstance(contexts, Mapping) else None

    async def read(self) -> Any:
        """Read the file once more; raises CredentialsError."""
        if self.again is None:
            raise CredentialsError(
                "there is no credentials file to read again: hub.evbus.acct.profiles was not called with acct_file;"
                " give reload the new contexts"
            )
        contexts = await self.again()
        if self._matcher:
            contexts["match_plugin"] = self._matcher
        return contexts

    async def close(self, timeout: float) -> None:
        """Give a reload that is under way time to notice that the bus is stopped."""
        if self.task is not None and not self.task.done():
            await asyncio.wait([self.task], timeout=timeout)
            self.task.cancel()
            await asyncio.wait([self.task], timeout=timeout)


async def reload(hub: Any, contexts: Any, timeout: float) -> Reloaded:
    """Reload once the reload before is done; a caller that is cancelled does not leave it half done."""
    source: Source = hub.evbus.SOURCE
    engine_reload.must_run(hub.evbus.ENGINE)
    while source.task is not None and not source.task.done():
        await asyncio.wait([source.task])
    task = source.task = asyncio.create_task(_reload(hub, contexts, timeout), name="evbus_like reload")
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_hear)
        raise


def _hear(task: asyncio.Task[Reloaded]) -> None:
    """Say how a reload ended whose caller has left."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("the profiles cannot be reloaded: %s", error)


async def _reload(hub: Any, contexts: Any, timeout: float) -> Reloaded:
    engine = hub.evbus.ENGINE
    if contexts is None:
        contexts = await hub.evbus.SOURCE.read()
    fresh = plan.entries(hub, contexts, hub.evbus.REPORTER)
    box = await outbox.opened(hub, fresh) if engine.outbox is None else None
    try:
        engine_reload.must_run(engine)
    except LifecycleError:
        if box is not None:
            await box.close()
        raise
    hub.evbus.REPORTER.lanes |= {entry.lane.name: entry.lane for entry in fresh}
    running = {entry.lane.name: entry for entry in engine.admission.router.entries}
    reloaded = await engine_reload.reload(engine, [_known(entry, running) for entry in fresh], timeout, box)
    hub.evbus.SOURCE.started_with(contexts)
    log.info("the profiles are reloaded: %s", reloaded)
    return reloaded


def _known(new: Entry, running: Mapping[str, Entry]) -> Entry:
    """Give the entry, with the running lane where nothing of the profile has changed."""
    old = running.get(new.lane.name)
    if old is None or old.serializer.name != new.serializer.name or old.lane.options != new.lane.options:
        return new
    one, other = new.lane.destination, old.lane.destination
    same = isinstance(one, PluginDestination) and isinstance(other, PluginDestination) and one.same(other)
    return Entry(new.matches, old.lane, new.serializer) if same else new
