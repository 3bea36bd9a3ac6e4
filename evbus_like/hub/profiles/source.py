"""A source for the engine, made of an egress plugin and a profile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from evbus_like.engine.errors import DestinationRefused, TransientError
from evbus_like.engine.foreign import ends
from evbus_like.engine.message import Message
from evbus_like.engine.receiving.look import Look
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.source import Inspection
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.hub import plugins, secrets
from evbus_like.hub.profiles import contract
from evbus_like.hub.profiles.destination import copied
from evbus_like.hub.runtime import Hub

MAX_EVENT_BYTES = 16 * 1024 * 1024


class PluginSource:
    """Calls one egress plugin for one profile; its exceptions show no secret of the profile."""

    def __init__(self, hub: Hub, plugin: Any, provider: str, profile: str, data: Any) -> None:
        self.name = f"{provider}:{profile}"
        self.plugin = plugin
        data = dict(data or {})
        self.data = copied(data)  # to compare it: the caller may change its own
        self.ctx = secrets.Hidden(acct=secrets.Hidden(data), profile=profile)
        self.timeout = float(data.get("timeout") or 30.0)
        self.max_event_bytes = int(data.get("max_event_bytes") or MAX_EVENT_BYTES)
        accept = data.get("accept") or ()
        self.accept: tuple[str, ...] = (accept,) if isinstance(accept, str) else tuple(accept)
        self.default_format = str(data.get("default_format") or "")
        self.limits: Mapping[str, Any] = getattr(plugin, "SENDS", None) or {}
        self.secrets = secrets.find(data)
        functions = plugin._funcs
        self.retries = "retry" in functions
        self.sends = "send" in functions
        self.rewinds = bool(getattr(plugin, "REWINDS", False))
        self.shards = bool(getattr(plugin, "SHARDS", False))
        self.priorities = bool(getattr(plugin, "PRIORITIES", False))
        self._call_of = {name: plugins.unwrapped(hub, functions[name]) for name in functions}
        self._receive = self._call_of["receive"]
        self._opening = asyncio.Lock()
        self._feeds = 0  # subscribed
        self._trying = 0  # subscribing
        self._opened = 0  # the number of the open connection, 0 if there is none
        self._connections = 0

    def same(self, other: PluginSource) -> bool:
        """Return whether the other has the same plugin and the same data."""
        return (self.plugin, self.data) == (other.plugin, other.data)

    def check(self, subscription: Subscription) -> None:
        """Refuse a subscription that the source cannot have, without connecting; raises HandlerError."""
        if "check" in self._call_of:
            contract.called(self.plugin, "check", self.ctx, subscription)

    async def subscribe(self, subscription: Subscription) -> Any:
        """Start to receive, over a connection that all handlers of the profile share."""
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

    async def inspect(self, subscription: Subscription) -> Inspection:
        """Look at what is there for a subscription, if the plugin can, over the connection of all; changes nothing."""
        if "inspect" not in self._call_of:
            return Inspection()
        connection = 0
        self._trying += 1
        try:
            connection = await self._open()
            found: Inspection = await self._call("inspect", subscription)
        finally:
            self._trying -= 1
            with suppress(Exception):
                await self._close(connection)
        return found._replace(advice=[secrets.redact(str(each), self.secrets) for each in found.advice])

    @asynccontextmanager
    async def dead_letters(self, subscription: Subscription) -> AsyncIterator[Look | None]:
        """Look at the dead letters of a subscription; yields None if it never had any. Raises a DeliveryError."""
        if "dead_letters" not in self._call_of:
            raise DestinationRefused("this source cannot show them")
        connection, look = 0, None
        self._trying += 1
        try:
            async with asyncio.timeout(self.timeout):
                connection = await self._open()
                look = await self._call("dead_letters", subscription)
            yield look
            if look is not None:
                done, look = look, None
                async with asyncio.timeout(self.timeout):
                    await done.close()
        finally:
            self._trying -= 1
            with suppress(Exception):
                async with asyncio.timeout(self.timeout):
                    if look is not None:
                        await look.close()
            with suppress(Exception):
                await self._close(connection)

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
                        await self._disconnect()  # it may be half open
                    raise
            return self._opened

    async def receive(self, feed: Any) -> Sequence[ReceivedEvent]:
        """Wait for the next events."""
        task = asyncio.current_task()
        try:
            received: Sequence[ReceivedEvent] = await self._receive(self.ctx, feed)
            return received
        except BaseException as error:
            clean = self._clean(error, task)
        raise clean

    async def ack(self, feed: Any, events: Sequence[ReceivedEvent]) -> None:
        """Acknowledge events."""
        await self._call("ack", feed, events)

    async def requeue(self, feed: Any, event: ReceivedEvent) -> None:
        """Return an event to its queue."""
        await self._call("requeue", feed, event)

    async def retry(self, feed: Any, event: ReceivedEvent, delay: float) -> None:
        """Deliver an event again after a delay."""
        await self._call("retry", feed, event, delay)

    async def dead(self, feed: Any, event: ReceivedEvent, reason: str) -> None:
        """Dead-letter an event; secrets are removed from the reason."""
        await self._call("dead", feed, event, self.redacted(reason))

    def redacted(self, text: str) -> str:
        """Return a text without the secrets of the profile."""
        return secrets.redact(text, self.secrets)

    async def send(self, feed: Any, messages: Sequence[Message]) -> None:
        """Send messages; each is settled when its outcome is known."""
        if feed is None:
            raise TransientError(f"{self.name} is not connected")
        await self._call("send", feed, messages)

    async def unsubscribe(self, feed: Any) -> None:
        """End a feed; the last feed of a profile closes its connection."""
        connection = self._opened
        try:
            await self._call("unsubscribe", feed)
        finally:
            self._feeds -= 1
            await self._close(connection)

    async def close(self) -> None:
        """Close the connection, if it is open."""
        async with self._opening:
            await self._disconnect()

    async def _close(self, connection: int, broken: bool = False) -> None:
        """Close a connection that no feed uses; if another subscribe is using it, only if it is `broken`."""
        async with self._opening:
            if connection and connection == self._opened and not self._feeds and (broken or not self._trying):
                await self._disconnect()

    async def _disconnect(self) -> None:
        opened, self._opened = self._opened, 0
        if opened and "close" in self._call_of:
            async with asyncio.timeout(self.timeout):
                await self._call("close")

    async def _call(self, name: str, *args: Any) -> Any:
        task = asyncio.current_task()
        try:
            return await self._call_of[name](self.ctx, *args)
        except BaseException as error:
            clean = self._clean(error, task)
        raise clean  # outside of `except`: the exception with the secret must not become its context

    def _clean(self, error: BaseException, task: asyncio.Task[Any] | None) -> Exception:
        """Return what a call of the plugin raised without secrets; raises what ends the task."""
        if ends(error, task):
            raise error
        if isinstance(error, asyncio.CancelledError):  # some clients cancel their callers when a connection is lost
            return TransientError("the client cancelled the call: its connection is lost")
        return secrets.clean(error, self.secrets, TransientError)
