"""An egress plugin and a profile, as the engine's source."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from dict_tools.data import SafeNamespaceDict

from evbus_like.engine.errors import DestinationRefused, ProfileError, TransientError
from evbus_like.engine.message import Message
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.hub import plugins, secrets
from evbus_like.hub.runtime import Hub

VERBS = ("subscribe", "receive", "ack", "requeue", "dead", "unsubscribe")
MAX_EVENT_BYTES = 16 * 1024 * 1024


class PluginSource:
    """Calls one egress plugin for one profile; no exception that leaves it holds a secret of the profile."""

    def __init__(self, hub: Hub, plugin: Any, provider: str, profile: str, data: Any) -> None:
        self.name = f"{provider}:{profile}"
        self.plugin = plugin
        data = dict(data or {})
        self.ctx = SafeNamespaceDict(acct=SafeNamespaceDict(data), profile=profile)
        self.timeout = float(data.get("timeout") or 30.0)
        self.max_event_bytes = int(data.get("max_event_bytes") or MAX_EVENT_BYTES)
        self.secrets = secrets.find(data)
        functions = plugin._funcs
        missing = [verb for verb in VERBS if verb not in functions]
        if missing:
            raise ProfileError(f"egress plugin {plugin.__name__!r} has no function {', '.join(missing)}")
        self.retries = "retry" in functions
        self.sends = "send" in functions
        self.rewinds = bool(getattr(plugin, "REWINDS", False))
        self._call_of = {name: plugins.unwrapped(hub, functions[name]) for name in functions}
        self._receive = self._call_of["receive"]
        self._opening = asyncio.Lock()
        self._feeds = 0  # that are subscribed
        self._trying = 0  # to subscribe
        self._opened = 0  # the number of the connection that is open, 0 for none
        self._connections = 0

    async def subscribe(self, subscription: Subscription) -> Any:
        """Begin to receive, over a connection that all handlers of the profile share."""
        connection = 0
        self._trying += 1
        try:
            connection = await self._open()
            feed = await self._call("subscribe", subscription)
            self._feeds += 1
        except BaseException as error:
            self._trying -= 1
            with suppress(Exception):
                await self._close(connection, broken=not isinstance(error, DestinationRefused))
            raise
        self._trying -= 1
        return feed

    async def _open(self) -> int:
        async with self._opening:
            if not self._opened:
                self._connections += 1
                self._opened = self._connections
                try:
                    if "open" in self._call_of:
                        await self._call("open")
                except BaseException:
                    with suppress(Exception):
                        await self._let_go()  # it may be half open
                    raise
            return self._opened

    async def receive(self, feed: Any) -> Sequence[ReceivedEvent]:
        """Wait for the next events."""
        try:
            received: Sequence[ReceivedEvent] = await self._receive(self.ctx, feed)
            return received
        except Exception as error:
            clean = secrets.clean(error, self.secrets, TransientError)
        except asyncio.CancelledError:
            clean = _not_ours()
        raise clean

    async def ack(self, feed: Any, events: Sequence[ReceivedEvent]) -> None:
        """Say that events are dealt with."""
        await self._call("ack", feed, events)

    async def requeue(self, feed: Any, event: ReceivedEvent) -> None:
        """Give an event back."""
        await self._call("requeue", feed, event)

    async def retry(self, feed: Any, event: ReceivedEvent, delay: float) -> None:
        """Let an event come again after a delay."""
        await self._call("retry", feed, event, delay)

    async def dead(self, feed: Any, event: ReceivedEvent, reason: str) -> None:
        """Put an event to the dead letters; the reason shows no secret."""
        await self._call("dead", feed, event, secrets.redact(reason, self.secrets))

    async def send(self, feed: Any, letters: Sequence[Message]) -> None:
        """Write letters, each of which is settled when it is known what became of it."""
        if feed is None:
            raise TransientError(f"{self.name} is not connected")
        await self._call("send", feed, letters)

    async def unsubscribe(self, feed: Any) -> None:
        """End a feed; the last one of a profile closes its connection."""
        connection = self._opened
        try:
            await self._call("unsubscribe", feed)
        finally:
            self._feeds -= 1
            await self._close(connection)

    async def close(self) -> None:
        """Let go of the connection, where it is open."""
        async with self._opening:
            await self._let_go()

    async def _close(self, connection: int, broken: bool = False) -> None:
        """Let go of a connection that no feed uses; one that others try to use too only where it is `broken`."""
        async with self._opening:
            if connection and connection == self._opened and not self._feeds and (broken or not self._trying):
                await self._let_go()

    async def _let_go(self) -> None:
        opened, self._opened = self._opened, 0
        if opened and "close" in self._call_of:
            async with asyncio.timeout(self.timeout):
                await self._call("close")

    async def _call(self, name: str, *args: Any) -> Any:
        try:
            return await self._call_of[name](self.ctx, *args)
        except Exception as error:
            clean = secrets.clean(error, self.secrets, TransientError)
        except asyncio.CancelledError:
            clean = _not_ours()
        raise clean  # out here, so that the exception with the secret is not its context


def _not_ours() -> Exception:
    """Give what a cancelling means that nobody asked for: some clients cancel their callers when a connection is lost.

    Raises CancelledError where somebody did ask.
    """
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise asyncio.CancelledError
    return TransientError("the client gave the call up: its connection is lost")
