"""Shards: the queues of a handler between which a consistent-hash exchange divides events, by their keys.

The exchange of the service's events is bound to the exchange `{queue}.shards`, and that one to the queues `{queue}`,
`{queue}.shard.1`, `{queue}.shard.2` and so on. The first one has the name that it has without shards, so that RabbitMQ
refuses a handler with shards where one without them is still running, and the other way round: together, they would
handle events twice.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import aiormq.exceptions as aiormq

from evbus_like.amqp import failures, topology
from evbus_like.amqp.connection import Channel
from evbus_like.amqp.shared_connection import SharedConnection
from evbus_like.engine.errors import DestinationRefused
from evbus_like.engine.event import KEY_HEADER
from evbus_like.engine.receiving.handler import MOST_SHARDS
from evbus_like.engine.receiving.subscription import Subscription

log = logging.getLogger("evbus_like.handlers")

TYPE = "x-consistent-hash"
PLUGIN = "rabbitmq_consistent_hash_exchange"
WEIGHT = "1"  # all shards get as many keys


@dataclass(frozen=True)
class Shard(Subscription):
    """One queue of a subscription with shards."""

    number: int = 0

    @property
    def queue(self) -> str:
        """The name of the queue."""
        return f"{super().queue}.shard.{self.number}" if self.number else super().queue

    @property
    def dead(self) -> str:
        """The queue of dead letters, which is that of the whole subscription."""
        return f"{super().queue}.dead"


def shard(subscription: Subscription, number: int) -> Shard:
    """Return one shard of a subscription; the prefetch of the subscription is for all of them."""
    given = {each.name: getattr(subscription, each.name) for each in fields(Subscription)}
    return Shard(**{**given, "prefetch": max(1, subscription.prefetch // subscription.shards)}, number=number)


def exchange_of(subscription: Subscription) -> str:
    """Return the name of the exchange that divides the events."""
    return f"{subscription.queue}.shards"


async def existing(connection: SharedConnection, subscription: Subscription) -> int:
    """Count the shards that RabbitMQ has, which may be those of another version; 0 if there are none."""
    count = 0
    try:
        async with connection.channel() as channel:
            while count < MOST_SHARDS:
                await topology.declare_queue(channel, shard(subscription, count).queue, passive=True)
                count += 1
            await channel.close()
    except aiormq.ChannelNotFoundEntity:
        pass
    return count


async def declare(connection: SharedConnection, acct: Mapping[str, Any], subscription: Subscription) -> int:
    """Declare and bind all that a subscription needs; returns how many shards there are; raises a DeliveryError.

    There may be more than it asks for: what is in the others is still to be handled.
    """
    await _declare_exchange(connection, subscription)
    before = await existing(connection, subscription)
    async with connection.channel() as channel:
        await topology.declare_its_exchange(channel, acct, subscription)
        # The last ones first, so that another worker that starts now finds all shards or none. But not before it is
        # known that the first one, if it is there, is a shard.
        for number in (*((0,) if before else ()), *reversed(range(subscription.shards))):
            await topology.declare_its_queue(channel, acct, shard(subscription, number))
        await bind(channel, acct, subscription, before)
        await channel.close()
    if problem := changed(subscription, before):
        log.warning("%s", problem)
    return max(before, subscription.shards)


async def _declare_exchange(connection: SharedConnection, subscription: Subscription) -> None:
    """Declare the exchange that divides the events.

    This has a connection of its own: RabbitMQ 3 closes the whole connection if it does not know the type.
    """
    own, name = connection.another(), exchange_of(subscription)
    try:
        async with own.channel() as channel:
            declared = {"type": TYPE, "arguments": {"hash-header": KEY_HEADER}}
            await topology.declare_exchange(channel, name, declared)
            await channel.close()
    except Exception as error:
        if "unknown exchange type" in failures.text(error) or "invalid exchange type" in failures.text(error):
            raise DestinationRefused(
                f"RabbitMQ at {own.place} has no exchanges of the type {TYPE}, which shards= needs. Its plugin comes"
                f" with RabbitMQ; enable it on every node: rabbitmq-plugins enable {PLUGIN}"
            ) from error
        raise failures.declaring(
            error,
            own.place,
            f"the exchange {name!r}",
            "Delete it, and it is declared anew",
        ) from error
    finally:
        await own.close()


async def bind(channel: Channel, acct: Mapping[str, Any], subscription: Subscription, known: int) -> None:
    """Bind the shards, and no others of the `known` ones."""
    name = exchange_of(subscription)
    for number in range(subscription.shards):
        await topology.bind_queue(channel, shard(subscription, number).queue, name, WEIGHT)
    await _unbind(channel, subscription, known)
    await _bind_exchange(channel, acct, subscription)


async def bind_again(channel: Channel, acct: Mapping[str, Any], subscription: Subscription, known: int) -> None:
    """Do what `bind` does for what is usually bound: one question for each event type, and none for each shard."""
    await _bind_exchange(channel, acct, subscription)  # first: its answer says whether the exchanges are there
    queues = [shard(subscription, number).queue for number in range(subscription.shards)]
    await topology.bind_queues(channel, queues, exchange_of(subscription), WEIGHT)
    await _unbind(channel, subscription, known)


async def _bind_exchange(channel: Channel, acct: Mapping[str, Any], subscription: Subscription) -> None:
    name = exchange_of(subscription)
    for event_type in subscription.event_types:
        await topology.bind_exchange(channel, name, topology.exchange_of(acct, subscription), event_type)


async def _unbind(channel: Channel, subscription: Subscription, known: int) -> None:
    for number in range(subscription.shards, known):
        queue = shard(subscription, number).queue
        await topology.unbind_queue(channel, queue, exchange_of(subscription), WEIGHT)


def changed(subscription: Subscription, before: int) -> str:
    """Say what another number of shards than `before` means; empty if it is the same, or the first one."""
    now, queue = subscription.shards, subscription.queue
    if before in (0, now):
        return ""
    text = (
        f"the queue {queue!r} has {now} shards here, and {before} at RabbitMQ: keys move to other shards, and a new"
        " event of a key may be handled before older ones that wait in the shard where the key was"
    )
    if before < now:
        return text
    left = ", ".join(repr(shard(subscription, number).queue) for number in range(now, before))
    return (
        f"{text}. No new events go to {left}: what is there is handled; delete them when they are empty:"
        " rabbitmqctl delete_queue"
    )
