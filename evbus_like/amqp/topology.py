"""Exchanges and queues, named and flagged exactly as nameko 2.14 does it.

A service's events go to the durable topic exchange `{source}.events`. A handler's queue is durable and bound with the
event's type, auto_delete without reliable delivery, exclusive for broadcasts without it, and has no arguments.
Source: nameko/events.py, nameko/standalone/events.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Any

import aiormq.exceptions as aiormq
from pamqp import commands, frame

from evbus_like.amqp import failures, internals
from evbus_like.amqp.codec import LONGEST_NAME
from evbus_like.amqp.connection import Channel, Connection
from evbus_like.engine.errors import DeliveryError, DestinationRefused, HandlerError, PoisonEvent
from evbus_like.engine.receiving.subscription import Subscription

LONGEST_RETRY_SUFFIX = len(".retry.2000000000")
LONGEST_SHARDS_SUFFIX = len(".workers.") + 32  # of the queue for a worker's announcements
SHORTER = "fewer or shorter event types, or a shorter name="
MOST_PREFETCH = 65535
MOST_DELIVERIES = 1_000_000_000  # instead of 20, after which RabbitMQ 4 drops an event
MISSING_FOR = 15.0  # seconds until a missing exchange is looked up again


class _AnyName:
    """RabbitMQ takes names of up to 255 bytes, with `*` and umlauts; pamqp would refuse them, as AMQP 0-9-1 says."""

    def validate(self) -> None:
        """Let RabbitMQ decide."""


class _ExchangeDeclare(_AnyName, commands.Exchange.Declare):
    pass


class _QueueDeclare(_AnyName, commands.Queue.Declare):
    pass


class _QueueBind(_AnyName, commands.Queue.Bind):
    pass


class _ExchangeBind(_AnyName, commands.Exchange.Bind):
    pass


class _QueueUnbind(_AnyName, commands.Queue.Unbind):
    pass


class _Consume(_AnyName, commands.Basic.Consume):
    pass


async def declare_exchange(channel: Channel, name: str, declare: Mapping[str, Any] | None = None) -> None:
    """Declare an exchange as a profile's `declare:` block says, by default a durable topic exchange."""
    options = {"type": "topic", "durable": True, **(declare or {})}
    kind, arguments = options.pop("type"), dict(options.pop("arguments", None) or {})
    await channel.aiormq.rpc(_ExchangeDeclare(exchange=name, exchange_type=kind, arguments=arguments, **options))


async def check_exchange(channel: Channel, name: str) -> None:
    """Check that an exchange exists."""
    await channel.aiormq.rpc(_ExchangeDeclare(exchange=name, passive=True))


async def find_exchange(channel: Channel, name: str, declare: Mapping[str, Any] | None) -> None:
    """Declare an exchange, or check that it exists if the profile does not declare it."""
    if name and declare is None:
        await check_exchange(channel, name)
    elif name:
        await declare_exchange(channel, name, declare)


async def declare_queue(channel: Channel, name: str, arguments: Mapping[str, Any] | None = None, **flags: bool) -> Any:
    """Declare a durable queue, and return the answer; the flag `passive` only checks that it exists."""
    return await channel.aiormq.rpc(_QueueDeclare(queue=name, durable=True, arguments=dict(arguments or {}), **flags))


async def bind_queue(channel: Channel, queue: str, exchange: str, routing_key: str) -> None:
    """Bind a queue to an exchange; a binding that exists is left as it is."""
    await channel.aiormq.rpc(_QueueBind(queue=queue, exchange=exchange, routing_key=routing_key))


async def bind_queues(channel: Channel, queues: Iterable[str], exchange: str, routing_key: str) -> None:
    """Bind queues to an exchange in one write, which waits for no answer; the next question raises what is wrong."""
    binds = [_QueueBind(queue=queue, exchange=exchange, routing_key=routing_key, nowait=True) for queue in queues]
    await channel.write(b"".join([frame.marshal(each, channel.number) for each in binds]))


async def unbind_queue(channel: Channel, queue: str, exchange: str, routing_key: str) -> None:
    """Remove the binding of a queue to an exchange, if there is one."""
    await channel.aiormq.rpc(_QueueUnbind(queue=queue, exchange=exchange, routing_key=routing_key))


async def bind_exchange(channel: Channel, name: str, exchange: str, routing_key: str) -> None:
    """Bind the exchange `name` to another one, from which it gets what has the routing key."""
    await channel.aiormq.rpc(_ExchangeBind(destination=name, source=exchange, routing_key=routing_key))


async def consume(channel: Channel, queue: str, no_ack: bool = False) -> str:
    """Start a consumer of a queue and return its tag; the channel's sink takes what is delivered."""
    tag = internals.add_consumer(channel.aiormq)
    await channel.aiormq.rpc(_Consume(queue=queue, consumer_tag=tag, no_ack=no_ack))
    return tag


def check(acct: Mapping[str, Any], subscription: Subscription, profile: str) -> None:
    """Check that RabbitMQ can have the subscription's queue, and gets its events; raises HandlerError."""
    if acct.get("routing_key") and _profile_exchange(acct, subscription) is None and not subscription.of_calls:
        raise HandlerError(
            f"all events of profile {profile} go to the queue {acct['routing_key']!r}, whatever their service, and none"
            " to an exchange: take another profile, or give this one an exchange:"
        )
    if subscription.max_priority and acct.get("quorum") and subscription.reliable:
        raise HandlerError(
            f"max_priority= needs a classic queue, and profile {profile} declares quorum queues, which have no such"
            " priorities: let the handler receive from a profile with quorum: false, or leave max_priority out"
        )
    size = len(subscription.queue.encode())
    others, what = (LONGEST_SHARDS_SUFFIX, "shards") if subscription.shards else (LONGEST_RETRY_SUFFIX, "retries")
    if size + others > LONGEST_NAME:
        shorter = "give the service a shorter name" if subscription.of_calls else SHORTER
        raise HandlerError(
            f"the queue's name {subscription.queue[:60]!r}... is {size} bytes long, and RabbitMQ takes {LONGEST_NAME},"
            f" of which {others} are for queues of {what}: {shorter}"
        )
    for text in (exchange_of(acct, subscription), *subscription.event_types):
        if len(text.encode()) > LONGEST_NAME:
            raise HandlerError(f"{text[:60]!r}... is longer than the {LONGEST_NAME} bytes that RabbitMQ takes")


def _profile_exchange(acct: Mapping[str, Any], subscription: Subscription) -> str | None:
    """Return the exchange that the profile names for all events; calls have one of their own."""
    name = None if subscription.of_calls else acct.get("exchange")
    return None if name in (None, "", "default") else str(name)


def exchange_of(acct: Mapping[str, Any], subscription: Subscription) -> str:
    """Return the exchange that the profile names, else the one of the service's events."""
    return _profile_exchange(acct, subscription) or subscription.exchange


def queue_arguments(acct: Mapping[str, Any], subscription: Subscription) -> dict[str, Any] | None:
    """Return the queue's arguments: as in nameko none, but for a reply queue, which expires, shards and priorities.

    A quorum queue can be neither exclusive nor auto_delete.
    """
    if subscription.expires is not None:
        return {"x-expires": round(subscription.expires * 1000)}
    arguments: dict[str, Any] = {"x-single-active-consumer": True} if subscription.shards else {}
    if subscription.max_priority:
        arguments["x-max-priority"] = subscription.max_priority
    if acct.get("quorum") and subscription.reliable:
        arguments["x-queue-type"] = "quorum"
        if subscription.shards:  # events that are held, for the order of their key, are returned when a shard moves
            arguments["x-delivery-limit"] = MOST_DELIVERIES
    return arguments or None


async def declare_subscription(channel: Channel, acct: Mapping[str, Any], subscription: Subscription) -> None:
    """Declare the exchange and the queue of a subscription, and bind it; raises a DeliveryError."""
    await declare_its_exchange(channel, acct, subscription)
    await declare_its_queue(channel, acct, subscription, bound=True)


async def bind(channel: Channel, acct: Mapping[str, Any], subscription: Subscription) -> None:
    """Bind the queue of a subscription with its event types; a binding that exists is left as it is."""
    queue, exchange = subscription.queue, exchange_of(acct, subscription)
    for event_type in subscription.event_types:
        await bind_queue(channel, queue, exchange, event_type)


async def declare_its_queue(
    channel: Channel, acct: Mapping[str, Any], subscription: Subscription, bound: bool = False
) -> None:
    """Declare the queue of a subscription, and bind it if it is to be `bound`; raises a DeliveryError."""
    queue = subscription.queue
    flags = {"exclusive": subscription.exclusive, "auto_delete": subscription.auto_delete}
    try:
        await declare_queue(channel, queue, queue_arguments(acct, subscription), **flags)
        if bound:
            await bind(channel, acct, subscription)
    except Exception as error:
        raise failures.declaring(
            error,
            channel.connection.target.place,
            f"the queue {queue!r}",
            "Give all its handlers the same delivery, reliable, shards, max_priority and quorum, or stop them, let it"
            f" be read until it is empty, and delete it: rabbitmqctl delete_queue {queue!r}",
        ) from error


def declares_its_exchange(acct: Mapping[str, Any], subscription: Subscription) -> bool:
    """Return whether a subscription declares its exchange; otherwise it must exist."""
    own = acct.get("declare") is not None or exchange_of(acct, subscription) == subscription.exchange
    return own and acct.get("declare_events") is not False


async def declare_its_exchange(channel: Channel, acct: Mapping[str, Any], subscription: Subscription) -> None:
    """Declare the exchange of a subscription, or check that it exists; raises a DeliveryError."""
    name, declare = exchange_of(acct, subscription), acct.get("declare")
    try:
        if not declares_its_exchange(acct, subscription):
            await check_exchange(channel, name)
        else:
            await declare_exchange(channel, name, declare if _profile_exchange(acct, subscription) else None)
    except Exception as error:
        raise failures.declaring(
            error,
            channel.connection.target.place,
            f"the exchange {name!r}",
            "Create it, or let the profile do so: declare: {type: topic}; if it exists, let declare: say what it is",
        ) from error


class ServiceExchanges:
    """The exchanges of services' events, for one connection that publishes; `known` are those that exist.

    Each is declared, or looked up, on a channel of its own, because a refusal closes the channel.
    """

    def __init__(self, connection: Connection, declares: bool) -> None:
        self.known: set[str] = set()
        self._connection = connection
        self._declares = declares
        self._place = connection.target.place
        self._missing: dict[str, float] = {}  # when each is looked up again

    async def problems(self, names: Iterable[str]) -> dict[str, DeliveryError]:
        """Declare exchanges, or look them up; returns the error of each that failed.

        Raises if the connection is lost.
        """
        found: dict[str, DeliveryError] = {}
        for name in names:
            if name in self.known:
                continue
            problem = await self._problem(name)
            if problem is None:
                self.known.add(name)
            else:
                found[name] = problem
        return found

    async def _problem(self, name: str) -> DeliveryError | None:
        if self._missing.get(name, 0.0) > monotonic():
            return self._not_there(name)
        try:
            async with self._connection.channel() as channel:
                await (declare_exchange if self._declares else check_exchange)(channel, name)
                await channel.close()
        except aiormq.ChannelNotFoundEntity:
            self._missing[name] = monotonic() + MISSING_FOR
            return self._not_there(name)
        except (aiormq.ChannelAccessRefused, aiormq.ChannelPreconditionFailed) as error:
            return DestinationRefused(
                f"RabbitMQ at {self._place} does not let the exchange {name!r} be"
                f" {'declared as a durable topic exchange' if self._declares else 'looked up'}:"
                f" {failures.text(error)}. Grant the user the right"
                + (", or publish to the exchange as it is: declare_events: false" if self._declares else "")
            )
        return None

    def _not_there(self, name: str) -> PoisonEvent:
        return PoisonEvent(
            f"RabbitMQ at {self._place} has no exchange {name!r}, and declare_events: false forbids to declare it:"
            " start the service that listens, create the exchange, or remove the option"
        )
