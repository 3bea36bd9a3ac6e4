"""Inboxes: the databases in whose transactions handlers with `inbox=` run, and the connections to them."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from evbus_like.engine.errors import HandlerError
from evbus_like.engine.receiving.consumer import Consumer
from evbus_like.engine.receiving.handler import Handler, HandlerOptions
from evbus_like.engine.receiving.inbox import InboxInvoker
from evbus_like.engine.receiving.subscription import BROADCAST, SINGLETON, Subscription
from evbus_like.engine.suggest import did_you_mean, shown
from evbus_like.hub import postgres
from evbus_like.hub.profiles import plan
from evbus_like.hub.runtime import Contexts, Hub
from evbus_like.hub.secrets import redact

if TYPE_CHECKING:
    from evbus_like.engine.receiving.group import Group
    from evbus_like.postgres.inbox import Inbox

NO_POOL = "a handler with inbox= needs the library psycopg-pool: pip install 'evbus-like[postgres]'"


def problem(options: HandlerOptions, is_async: bool, identifier: str) -> str:
    """Return why a handler cannot have an inbox, or an empty string."""
    if not options.inbox:
        return ""
    if not is_async:
        return "inbox= needs `async def`: event.transaction is an asynchronous connection"
    if options.batch is not None:
        return "inbox= marks one event in one transaction, and batch= handles many at once: leave one of them out"
    if options.delivery == BROADCAST and not identifier:
        return (
            "inbox= marks events under the handler's name, and that of a BROADCAST without a broadcast_identifier is"
            " another one after each start: give it one that stays the same"
        )
    return ""


def use(hub: Hub, profile: Any, connect: Any) -> None:
    """Have the inbox of a profile use the application's connections; raises HandlerError."""
    if not isinstance(profile, str) or not profile:
        raise HandlerError(f"transactions(profile, connect): profile must be non-empty text, not {shown(profile)}")
    if not callable(connect):
        raise HandlerError(
            "transactions(profile, connect): connect must return an asynchronous context manager of a connection, as"
            f" pool.connection or an async_sessionmaker do, and {type(connect).__name__} cannot be called"
        )
    hub.evbus.RUNTIME.connects[profile.removeprefix(f"{plan.DATABASES}:")] = connect


class Inboxes:
    """The inboxes of one start of handlers, by the names of their profiles; nothing is opened yet."""

    def __init__(self, hub: Hub, contexts: Contexts | None) -> None:
        self._hub = hub
        self._contexts = contexts
        self._made: dict[str, Inbox] = {}

    def give(self, invoker: InboxInvoker, handler: Handler, subscription: Subscription) -> None:
        """Give an invoker its inbox; raises HandlerError."""
        invoker.inbox = made = self._named(handler.options.inbox.removeprefix(f"{plan.DATABASES}:"))
        invoker.listener = listener(handler, subscription)
        made.size += handler.options.max_workers

    def _named(self, name: str) -> Inbox:
        if name in self._made:
            return self._made[name]
        databases = {each.name: each for each in postgres.of_contexts(self._hub, self._contexts)}
        if name not in databases:
            known = (
                did_you_mean(name, databases)
                if databases
                else (
                    f"add it to the credentials, as {plan.DATABASES}: {{{name}: {{connection:"
                    " postgresql://USER:PASSWORD@HOST/DATABASE}}"
                )
            )
            raise HandlerError(f"inbox={name!r}: there is no profile {plan.DATABASES}:{name}; {known}")
        connect = self._hub.evbus.RUNTIME.connects.get(name)
        if connect is None and importlib.util.find_spec("psycopg_pool") is None:
            raise HandlerError(NO_POOL)
        from evbus_like.postgres.inbox import Inbox

        self._made[name] = made = Inbox(databases[name], connect)
        return made


def listener(handler: Handler, subscription: Subscription) -> str:
    """Return the name under which a handler's events are marked; those that share a queue share it."""
    if subscription.delivery == SINGLETON:
        return subscription.queue
    name = f"{handler.service}.{handler.name}"
    return f"{name}-{subscription.identifier}" if subscription.delivery == BROADCAST else name


class Opened:
    """The open inboxes of one group."""

    def __init__(self, inboxes: Collection[Inbox]) -> None:
        self._inboxes = inboxes
        self._removing: list[asyncio.Task[None]] = []

    async def open(self) -> list[str]:
        """Open them, and return what is wrong with their databases."""
        from evbus_like.postgres import marks

        for each in self._inboxes:
            await each.open()
        wrong = await asyncio.gather(*(marks.problem(each) for each in self._inboxes))
        self._removing = [
            asyncio.create_task(marks.remove_old(each.database), name=f"evbus_like marks {each.label}")
            for each in self._inboxes
        ]
        return [redact(text) for text in wrong if text]

    def stopping(self) -> None:
        """Let events that wait for a database go back to their source."""
        for each in self._inboxes:
            each.stopping = True

    async def close(self) -> None:
        """Close the connections."""
        for task in self._removing:
            task.cancel()
        await asyncio.gather(*self._removing, *(each.close() for each in self._inboxes), return_exceptions=True)


async def open_for(group: Group, consumers: Sequence[Consumer]) -> list[str]:
    """Open the inboxes of some consumers, to be closed with the group, and return what is wrong."""
    of = {id(each.invoker.inbox): each.invoker for each in consumers if isinstance(each.invoker, InboxInvoker)}
    if not of:
        return []
    for each in consumers:
        if isinstance(each.invoker, InboxInvoker):
            each.invoker.stats = each.stats
    group.inboxes = opened = Opened([each.inbox for each in of.values()])  # type: ignore[misc]
    wrong = await opened.open()
    if wrong:
        await opened.close()
        group.inboxes = None
    return wrong
