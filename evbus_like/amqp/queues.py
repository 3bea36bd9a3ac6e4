"""Exchanges and queues of those who receive, named and flagged exactly as nameko 2.14 does it.

nameko/events.py and nameko/standalone/events.py: a durable topic exchange `{source}.events`; a durable queue that is
bound with the event's type, auto_delete without reliable delivery, exclusive for broadcasts without it, no arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evbus_like.amqp import methods, refusals
from evbus_like.engine.errors import HandlerError
from evbus_like.engine.receiving.subscription import Subscription

LONGEST = 255  # bytes: AMQP 0-9-1 short strings
LONGEST_END = len(".retry.2000000000")
MOST_PREFETCH = 65535


def check(acct: Mapping[str, Any], subscription: Subscription, profile: str) -> None:
    """Refuse a subscription that RabbitMQ cannot have, or whose events the profile sends elsewhere: HandlerError."""
    if acct.get("routing_key") and _named(acct, subscription) is None and not subscription.of_calls:
        raise HandlerError(
            f"all events of profile {profile} go to the queue {acct['routing_key']!r}, whatever their service, and none"
            " to an exchange: take another profile, or give this one an exchange:"
        )
    size = len(subscription.queue.encode())
    if size + LONGEST_END > LONGEST:
        raise HandlerError(
            f"the queue's name {subscription.queue[:60]!r}... is {size} bytes long, and RabbitMQ takes {LONGEST}, of"
            f" which {LONGEST_END} are for queues of retries: fewer or shorter event types, or a shorter name="
        )
    for text in (exchange(acct, subscription), *subscription.event_types):
        if len(text.encode()) > LONGEST:
            raise HandlerError(f"{text[:60]!r}... is longer than the {LONGEST} bytes that RabbitMQ takes")


def _named(acct: Mapping[str, Any], subscription: Subscription) -> str | None:
    """Give the exchange that the profile names for all events; it is not for calls."""
    name = None if subscription.of_calls else acct.get("exchange")
    return None if name in (None, "", "default") else str(name)


def exchange(acct: Mapping[str, Any], subscription: Subscription) -> str:
    """Give the exchange that the profile names, else the one of the service's events."""
    return _named(acct, subscription) or subscription.exchange


def arguments(acct: Mapping[str, Any], subscription: Subscription) -> dict[str, Any] | None:
    """Give the queue's arguments, as nameko: none but the time after which a queue of replies goes.

    A quorum queue can be neither exclusive nor auto_delete.
    """
    if subscription.expires is not None:
        return {"x-expires": round(subscription.expires * 1000)}
    return {"x-queue-type": "quorum"} if acct.get("quorum") and subscription.reliable else None


async def make(channel: Any, acct: Mapping[str, Any], subscription: Subscription, place: str) -> None:
    """Declare what a subscription needs and bind it; raises a DeliveryError."""
    await _exchange(channel, acct, subscription, place)
    queue = subscription.queue
    try:
        await methods.declare_queue(
            channel,
            queue,
            exclusive=subscription.exclusive,
            auto_delete=subscription.auto_delete,
            arguments=arguments(acct, subscription),
        )
        for event_type in subscription.event_types:
            await methods.bind(channel, queue, exchange(acct, subscription), event_type)
    except Exception as error:
        raise refusals.declaring(
            error,
            place,
            f"the queue {queue!r}",
            f"Let all its handlers say the same of delivery, reliable and quorum, or stop them, have it read empty,"
            f" and delete it: rabbitmqctl delete_queue {queue!r}",
        ) from error


async def _exchange(channel: Any, acct: Mapping[str, Any], subscription: Subscription, place: str) -> None:
    name, declare = exchange(acct, subscription), acct.get("declare")
    try:
        if (declare is None and name != subscription.exchange) or acct.get("declare_events") is False:
            await methods.declare_exchange(channel, name, passive=True)
            return
        wanted = dict(declare or {}) if _named(acct, subscription) else {}
        await methods.declare_exchange(channel, name, wanted.pop("type", "topic"), **wanted)
    except Exception as error:
        raise refusals.declaring(
            error,
            place,
            f"the exchange {name!r}",
            "Create it, or have the profile do so: declare: {type: topic}; if it exists, let declare: say what it is",
        ) from error
