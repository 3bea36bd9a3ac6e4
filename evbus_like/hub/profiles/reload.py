"""Reload the profiles while the bus runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from evbus_like.engine.errors import CredentialsError, LifecycleError
from evbus_like.engine.sending import reload as engine_reload
from evbus_like.engine.sending.reload import Reloaded
from evbus_like.engine.sending.router import Entry
from evbus_like.hub import outbox, postgres
from evbus_like.hub.profiles import plan
from evbus_like.hub.profiles.destination import PluginDestination
from evbus_like.hub.runtime import Contexts, Hub, Runtime

if TYPE_CHECKING:
    from evbus_like.hub.profiles.renewal import Renewal

log = logging.getLogger("evbus_like.profiles")


async def reload(hub: Hub, contexts: Contexts | None, timeout: float) -> Reloaded:
    """Reload after any reload that is running; cancelling the caller does not cancel the reload."""
    runtime = hub.evbus.RUNTIME
    engine_reload.must_run(runtime.bus)
    task = runtime.create_task(_reload(hub, contexts, timeout), "reload")
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_log_error)
        raise


def _log_error(task: asyncio.Task[Reloaded]) -> None:
    """Log the error of a reload whose caller was cancelled."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("the profiles cannot be reloaded: %s", error)


async def _reload(hub: Hub, contexts: Contexts | None, timeout: float) -> Reloaded:
    runtime = hub.evbus.RUNTIME
    async with runtime.outbox_lock:
        if contexts is None:
            contexts = await _read(runtime)
        fresh = plan.entries(hub, contexts, runtime.reporter)
        postgres.must_not_change(hub, contexts)
        receiving = _receiving(hub, contexts)
        box = await outbox.opened(hub, fresh) if runtime.bus.outbox is None else None
        try:
            engine_reload.must_run(runtime.bus)
        except LifecycleError:
            if box is not None:
                await box.close()
            raise
        runtime.reporter.lanes |= {entry.lane.name: entry.lane for entry in fresh}
        running = {entry.lane.name: entry for entry in runtime.bus.admission.router.entries}
        runtime.contexts = contexts
        runtime.match_plugin = contexts.get("match_plugin")
        sending = engine_reload.reload(runtime.bus, [_known(entry, running) for entry in fresh], timeout, box)
        if receiving is None:
            reloaded = await sending
        else:
            changed, received = await asyncio.gather(sending, receiving.run(timeout))
            reloaded = replace(changed, received=received)
    log.info("the profiles are reloaded: %s", reloaded)
    return reloaded


def _receiving(hub: Hub, contexts: Contexts) -> Renewal | None:
    """Return what is to be received from other sources, if the program receives or calls; raises ProfileError."""
    runtime = hub.evbus.RUNTIME
    if not (runtime.handlers or runtime.services or runtime.rpc_clients):
        return None
    from evbus_like.hub.profiles.renewal import Renewal  # only such programs need it

    return Renewal(hub, contexts)


async def _read(runtime: Runtime) -> Contexts:
    """Read the credentials file again; raises CredentialsError."""
    if runtime.read_contexts is None:
        raise CredentialsError(
            "there is no credentials file to read again: hub.evbus.acct.profiles was not called with acct_file;"
            " give reload the new contexts"
        )
    contexts = await runtime.read_contexts()
    if runtime.match_plugin:
        contexts["match_plugin"] = runtime.match_plugin
    return contexts


def _known(new: Entry, running: Mapping[str, Entry]) -> Entry:
    """Return the entry, with the running lane if nothing in the profile has changed."""
    old = running.get(new.lane.name)
    if old is None or old.serializer.name != new.serializer.name or old.lane.options != new.lane.options:
        return new
    one, other = new.lane.destination, old.lane.destination
    same = isinstance(one, PluginDestination) and isinstance(other, PluginDestination) and one.same(other)
    return Entry(new.matches, old.lane, new.serializer) if same else new
