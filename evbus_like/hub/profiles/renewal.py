"""The part of a reload that concerns what receives: handlers, services and clients of calls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from evbus_like.engine.receiving.consumer import Consumer
from evbus_like.hub.profiles.source import PluginSource
from evbus_like.hub.profiles.sources import Sources
from evbus_like.hub.runtime import Contexts, Hub
from evbus_like.hub.secrets import redact

log = logging.getLogger("evbus_like.profiles")


class Renewal:
    """What is to be received from other sources; made before anything changes, so that a wrong profile is refused."""

    def __init__(self, hub: Hub, contexts: Contexts) -> None:
        """Look at everything that receives; raises ProfileError."""
        runtime = hub.evbus.RUNTIME
        groups = [group for group in (runtime.handlers, runtime.services) if group is not None and group.follows_reload]
        self._consumers = [consumer for group in groups for consumer in group.consumers]
        self._clients = runtime.rpc_clients
        calling = self._clients.clients if self._clients is not None else ()
        self._sources = Sources(hub, contexts)
        self._new: dict[int, PluginSource] = {}  # by the id of the source that it replaces
        users: list[Any] = [*self._consumers, *calling]
        old = {id(each.source): each.source for each in users}
        self._old = old  # kept: an id is used again when its object is gone
        for key, source in old.items():
            fresh = self._sources.at(source.name)
            if fresh is not None and not fresh.same(source):
                self._new[key] = self._sources.another(source.name)
            elif fresh is None:
                log.warning(
                    "no profile %s exists any more; its handlers, services and calls go on as before until the next"
                    " start",
                    source.name,
                )

    async def run(self, within: float) -> tuple[str, ...]:
        """Reconnect everything whose profile has changed, and return the names of these profiles.

        An open connection is left only when the new options can connect: otherwise it stays until it is lost.
        """
        if self._clients is not None:
            self._clients.forget_sources()
        await asyncio.gather(*(self._renew(key, source, within) for key, source in self._new.items()))
        return tuple(dict.fromkeys(source.name for source in self._new.values()))

    async def _renew(self, key: int, source: PluginSource, within: float) -> None:
        consumers = [each for each in self._consumers if id(each.source) == key]
        calling = [] if self._clients is None else [each for each in self._clients.clients if id(each.source) == key]
        at_once = await _connects(source, [*consumers, *(each.consumer for each in calling)])
        renewals = [each.renew(source, within, at_once) for each in consumers]
        waiting = [asyncio.create_task(each.renew(source, within, at_once)) for each in calling]
        if renewals or waiting:
            _, late = await asyncio.wait([*renewals, *waiting], timeout=within + source.timeout)
            for task in waiting:
                task.cancel()
            if late:
                log.warning("%s: %d of its handlers and calls have not reconnected yet", source.name, len(late))


async def _connects(source: PluginSource, consumers: Sequence[Consumer]) -> bool:
    """Return whether a source can be used, if one of these receives: else nothing is lost by an attempt."""
    receiving = next((each for each in consumers if each.subscribed.is_set()), None)
    if receiving is None:
        return True
    try:
        async with asyncio.timeout(source.timeout):
            await source.inspect(receiving.subscription)
    except Exception as error:
        why = redact(str(error) or type(error).__name__, source.secrets)
        log.error(
            "%s cannot be reached with its new options, so its handlers and calls keep their connection, and try the"
            " new options when it is lost: %s",
            source.name,
            why,
        )
        return False
    return True
