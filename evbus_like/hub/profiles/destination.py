"""A destination for the engine, made of an ingress plugin and a profile."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from evbus_like.engine.errors import ProfileError, TransientError
from evbus_like.engine.event import Event
from evbus_like.engine.foreign import ends
from evbus_like.engine.sending.destination import Asks, Outcomes
from evbus_like.hub import secrets

log = logging.getLogger("evbus_like.lane")


class PluginDestination:
    """Calls one ingress plugin for one profile; its exceptions show no secret of the profile."""

    def __init__(self, plugin: Any, provider: str, profile: str, data: Any) -> None:
        self.plugin = plugin.__name__
        self.provider = provider
        self.profile = profile
        self.data = copied(data or {})  # a copy that neither the plugin nor the caller can change
        self.ctx = secrets.Hidden(acct=secrets.Hidden(copied(self.data)), profile=profile)
        self.ctx.blocked = self._blocked
        self.ctx.ask = self._ask
        self.on_blocked: Callable[[str | None], None] = _ignore
        self.asks: Asks | None = None
        self.on_asks: Callable[[], None] = _nobody
        self.secrets = secrets.find(data)
        functions = plugin._funcs
        self._open = functions.get("open")
        self._batch = functions.get("publish_batch")
        self._close = functions.get("close")
        self._ping = functions.get("ping")
        self._publish = functions.get("publish")
        self.publish_now = self._immediate(functions.get("publish_now"))
        self._parameters: Sequence[str] = ()
        if self._batch is None:
            if self._publish is None:
                raise ProfileError(f"ingress plugin {self.plugin!r} has neither publish nor publish_batch")
            self._parameters = _parameters(self.plugin, self._publish)

    def _immediate(self, function: Any) -> Any:
        """Bind publish_now, without pop's wrapper if no contract needs it: that costs more than the function."""
        if function is None or self._open is not None:
            return None
        wrapped = function._has_contracts
        return partial(function, self.ctx) if wrapped else partial(function.func, function.hub, self.ctx)

    def same(self, other: PluginDestination) -> bool:
        """Return whether the other has the same plugin and the same data."""
        return (self.plugin, self.data) == (other.plugin, other.data)

    @property
    def takes_batches(self) -> bool:
        """Whether the plugin takes many events at a time."""
        return self._batch is not None

    async def open(self) -> None:
        """Connect, if the plugin has `open`."""
        if self._open is not None:
            await self._call(self._open, self.ctx)

    async def publish(self, events: Sequence[Event]) -> Outcomes | None:
        """Publish a batch; a plugin that takes one event at a time gets batches of one."""
        if self._batch is not None:
            outcomes = await self._call(self._batch, self.ctx, events)
            return None if outcomes is None else self._cleaned(outcomes)
        for event in events:
            values = {"ctx": self.ctx, "routing_key": event.routing_key, "body": event.body}
            await self._call(self._publish, **{name: values[name] for name in self._parameters})
        return None

    def _cleaned(self, outcomes: Any) -> list[Any]:
        """Return a batch's outcomes without secrets; raises TypeError if the plugin gave something else."""
        if not isinstance(outcomes, Iterable):
            raise TypeError(
                f"ingress plugin {self.plugin!r}: publish_batch gave a {type(outcomes).__name__};"
                " it must give None, or a list with one outcome for each event"
            )
        return [secrets.clean(each, self.secrets) if isinstance(each, BaseException) else each for each in outcomes]

    async def ping(self) -> Sequence[str]:
        """Check that the destination answers, if the plugin has `ping`, and return its advice."""
        advice = await self._call(self._ping, self.ctx) if self._ping is not None else None
        return [secrets.redact(str(each), self.secrets) for each in advice or ()]

    async def close(self) -> None:
        """Disconnect, if the plugin has `close`."""
        if self._close is not None:
            await self._call(self._close, self.ctx)

    def _blocked(self, reason: str | None) -> None:
        self.on_blocked(reason and secrets.redact(reason, self.secrets))

    def _ask(self, refuse: Callable[[Event], str | None], above: int = -1) -> None:
        self.asks = Asks(partial(self._refused, refuse), above)
        self.on_asks()

    def _refused(self, refuse: Callable[[Event], str | None], event: Event) -> str | None:
        """Ask the plugin; what it cannot say, the destination says when it gets the event."""
        try:
            why = refuse(event)
            return secrets.redact(str(why), self.secrets) if why else None
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            log.warning(
                "ingress plugin %r cannot say whether it takes %r: %s", self.plugin, event, type(error).__name__
            )
            return None

    async def _call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        task = asyncio.current_task()
        try:
            result = function(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) or ends(error, task):
                raise
            clean = secrets.clean(error, self.secrets)
            if clean is error:
                raise
        raise clean  # outside of `except`: the exception with the secret must not become its context


def copied(data: Any) -> Any:
    """Copy mappings and lists; other values are shared."""
    if isinstance(data, Mapping):
        return {name: copied(value) for name, value in data.items()}
    return [copied(value) for value in data] if isinstance(data, list) else data


def _nobody() -> None:
    """Do nothing: no lane has the destination yet."""


def _ignore(reason: str | None) -> None:
    """Ignore a block before a lane has the destination."""


def _parameters(plugin: str, publish: Any) -> list[str]:
    """Return the names of publish's parameters: (ctx, routing_key, body), or (ctx, body) as in pop-evbus 7."""
    known = ("ctx", "routing_key", "body")
    every = list(publish.signature.parameters.values())
    wanted = every[1:]  # the first is the hub
    strange = [p.name for p in wanted if p.name not in known and p.default is p.empty and p.kind not in (2, 4)]
    names = [p.name for p in wanted if p.name in known]
    if strange or "body" not in names or every[0].name == "ctx":
        raise ProfileError(
            f"ingress plugin {plugin!r}: publish has parameters ({', '.join(p.name for p in every)});"
            " it must be publish(hub, ctx, routing_key, body) or publish(hub, ctx, body)"
        )
    return names


async def probe(destination: PluginDestination) -> Sequence[str]:
    """Open, ping and close, for `evbus check`, and return the plugin's advice; raises what the plugin raises."""
    try:
        await destination.open()
        return await destination.ping()
    except TimeoutError as error:
        raise TransientError(f"no answer: {error}") from error
    finally:
        await destination.close()
