"""Inspection: what RabbitMQ has of a subscription. Nothing is sent, received, made or changed.

A declaration of what exists changes nothing: RabbitMQ refuses it if its flags or arguments are others. Workers of
handlers with shards are asked through their exchange, and answer to a queue that is deleted at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiormq.exceptions as aiormq

from evbus_like.amqp import failures, members, shards, topology
from evbus_like.amqp.connection import Channel
from evbus_like.amqp.messages import MessageSender
from evbus_like.amqp.shared_connection import SharedConnection
from evbus_like.engine.errors import DestinationRefused
from evbus_like.engine.receiving.source import Inspection
from evbus_like.engine.receiving.subscription import Subscription

LISTEN = 1.5  # seconds: each worker answers, and announces itself every second


async def inspect(
    connection: SharedConnection, acct: Mapping[str, Any], subscription: Subscription, sender: MessageSender
) -> Inspection:
    """Return advice about the exchange, the queue and the dead letters; raises what subscribing would raise."""
    advice: list[str] = []
    exchange, queue = topology.exchange_of(acct, subscription), subscription.queue
    declared = topology.declares_its_exchange(acct, subscription)
    if not declared or await _found(connection, lambda channel: topology.check_exchange(channel, exchange)):
        await _on_channel(connection, lambda channel: topology.declare_its_exchange(channel, acct, subscription))
    if not subscription.auto_delete:
        if await _found(connection, lambda channel: topology.declare_queue(channel, queue, passive=True)):
            await _on_channel(connection, lambda channel: topology.declare_its_queue(channel, acct, subscription))
        elif not subscription.of_calls:
            advice.append(
                f"its queue {queue!r} does not exist yet: RabbitMQ keeps no events for it before the first `evbus run`"
            )
    if subscription.shards and (text := shards.changed(subscription, await shards.existing(connection, subscription))):
        advice.append(text)
    readers = await _workers(connection, subscription, sender) if subscription.shards else []
    return Inspection([*advice, *await _dead_letters(connection, acct, subscription)], workers=readers)


async def _workers(
    connection: SharedConnection, subscription: Subscription, sender: MessageSender
) -> list[tuple[str, list[int]]]:
    """Ask the workers of a handler with shards what they read."""
    if not await _found(
        connection, lambda channel: topology.check_exchange(channel, members.exchange_of(subscription.queue))
    ):
        return []
    asking = members.Members(connection, sender, subscription.queue, known=0)
    try:
        await asking.open(lambda _: None)
        await asyncio.sleep(LISTEN)
        return sorted((said.place, sorted(said.member.shards)) for said in asking.announced)
    except Exception as error:
        raise failures.declaring(error, connection.place, "to ask the workers", "Try again") from error
    finally:
        await asking.close()


async def _dead_letters(connection: SharedConnection, acct: Mapping[str, Any], subscription: Subscription) -> list[str]:
    exchange, queue = acct.get("dead_letter_exchange") or "", subscription.dead
    if exchange:
        if await _found(connection, lambda channel: topology.check_exchange(channel, exchange)):
            return []
        raise DestinationRefused(
            f"RabbitMQ at {connection.place} has no exchange {exchange!r}, the profile's dead_letter_exchange,"
            " so an event that fails could not be dead-lettered, and would wait: create it, and bind a queue to it"
        )
    there = await _found(connection, lambda channel: topology.declare_queue(channel, queue, passive=True))
    return [f"{there.message_count} dead letters wait in the queue {queue!r}"] if there and there.message_count else []


async def _found(connection: SharedConnection, ask: Callable[[Channel], Awaitable[Any]]) -> Any:
    """Return RabbitMQ's answer, or True; None if nothing has that name."""
    try:
        return await _on_channel(connection, ask) or True
    except aiormq.ChannelNotFoundEntity:
        return None
    except aiormq.ChannelLockedResource:  # another connection has it for itself
        return True


async def _on_channel(connection: SharedConnection, ask: Callable[[Channel], Awaitable[Any]]) -> Any:
    """Ask on a channel of its own, because a refusal closes the channel."""
    try:
        async with connection.channel() as channel:
            answer = await ask(channel)
            await channel.close()
            return answer
    except (aiormq.ChannelNotFoundEntity, aiormq.ChannelLockedResource):
        raise
    except Exception as error:
        raise failures.declaring(error, connection.place, "a look at what exists", "Try again") from error
