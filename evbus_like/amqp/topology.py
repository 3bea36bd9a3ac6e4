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
from pamqp import commands

from evbus_like.amqp import failures, internals
from evbus_like.amqp.codec import LONGEST_NAME
from evbus_like.amqp.connection import Channel, Connection
from evbus_like.engine.errors import DeliveryError, DestinationRefused, HandlerError, PoisonEvent
from evbus_like.engine.receiving.subscription import Subscription

LONGEST_RETRY_SUFFIX = len(".retry.2000000000")
MOST_PREFETCH = 65535
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


async def consume(channel: Channel, queue: str) -> None:
    """Start a consumer of a queue; the channel's sink takes what is delivered."""
    tag = internals.add_consumer(channel.aiormq)
    await channel.aiormq.rpc(_Consume(queue=queue, consumer_tag=tag))


def check(acct: Mapping[str, Any], subscription: Subscription, profile: str) -> None:
    """Check that RabbitMQ can have the subscription's queue, and gets its events; raises HandlerError."""
    if acct.get("routing_key") and _profile_exchange(acct, subscription) is None and not subscription.of_calls:
        raise HandlerError(
            f"all events of profile {profile} go to the queue {acct['routing_key']!r}, whatever their service, and none"
            " to an exchange: take another profile, or give this one an exchange:"
        )
    size = len(subscription.queue.encode())
    if size + LONGEST_RETRY_SUFFIX > LONGEST_NAME:
        raise HandlerError(
            f"the queue's name {subscription.queue[:60]!r}... is {size} bytes long, and RabbitMQ takes {LONGEST_NAME},"
            f" of which {LONGEST_RETRY_SUFFIX} are for queues of retries: fewer or shorter event types, or a shorter"
            " name="
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
    """Return the queue's arguments: as in nameko none, but for a reply queue, which expires.

    A quorum queue can be neither exclusive nor auto_delete.
    """
    if subscription.expires is not None:
        return {"x-expires": round(subscription.expires * 1000)}
    return {"x-queue-type": "quorum"} if acct.get("quorum") and subscription.reliable else None


async def declare_subscription(channel: Channel, acct: Mapping[str, Any], subscription: Subscription) -> None:
    """Declare the exchange and the queue of a subscription, and bind it; raises a DeliveryError."""
    await declare_its_exchange(channel, acct, subscription)
    await declare_its_queue(channel, acct, subscription, bound=True)


async def bind(channel: Channel, acct: Mapping[str, Any], subscription: Subscription) -> None:
    """Bind the queue of a subscription with its event types; a binding that exists is left as it is."""
    queue, exchange = subscription.queue, exchange_of(acct, subscription)
    for event_type in subscription.event_types:
        await channel.aiormq.rpc(_QueueBind(queue=queue, exchange=exchange, routing_key=event_type))


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
            "Give all its handlers the same delivery, reliable and quorum, or stop them, let it be read until it is"
            f" empty, and delete it: rabbitmqctl delete_queue {queue!r}",
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
