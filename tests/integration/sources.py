"""Handlers for tests: plain functions on a source, without an application."""

import asyncio
from contextlib import asynccontextmanager

from evbus_like.engine.receiving.group import Group
from evbus_like.engine.receiving.handler import Handler, HandlerOptions
from evbus_like.hub.application import binding
from evbus_like.testing import new_hub, running


def handler(call, source, event_types="created", *, service="shipping", name="take", **options):
    """Make a handler of a function that takes one event."""
    types = (event_types,) if isinstance(event_types, str) else tuple(event_types)
    made = HandlerOptions(source=source, event_types=types, **options)
    return Handler(f"handler.{service}.{name}", service, name, call, asyncio.iscoroutinefunction(call), made)


@asynccontextmanager
async def receiving(profiles, *made, timeout=30.0, wait=True):
    """Run handlers on these profiles, {provider: {profile: data}}, during the block; gives their group."""
    async with running() as hub, on_hub(hub, profiles, *made, timeout=timeout, wait=wait) as group:
        yield group


@asynccontextmanager
async def on_hub(hub, profiles, *made, timeout=30.0, wait=True):
    """Run handlers on a hub whose bus is running."""
    contexts = await hub.evbus.acct.profiles(acct_data=profiles)
    group = Group()
    group.start(await binding.consumers(hub, contexts, list(made), group))
    try:
        if wait:
            await group.subscribed(60.0)
        yield group
    finally:
        await group.stop(timeout)


def stats_of(group):
    """Give the statistics of the only consumer of a group."""
    (only,) = group.status().values()
    return only


async def bind_only(profiles, *made):
    """Bind handlers without receiving; raises what a start would raise."""
    hub = new_hub()
    async with running(hub=hub):
        contexts = await hub.evbus.acct.profiles(acct_data=profiles)
        return await binding.consumers(hub, contexts, list(made), Group())
