"""From a delivery to the event that a handler gets."""

from __future__ import annotations

from typing import Any

from evbus_like.amqp.deliveries import Delivery
from evbus_like.amqp.properties import CONTENT_TYPE, CORRELATION_ID, MESSAGE_ID, REPLY_TO, Properties
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription

ATTEMPT = "evbus-attempt"  # of a copy that comes from a queue of retries
ROUTING_KEY = "evbus-routing-key"  # the routing key that its first message had
DEATHS = ("x-death", "x-first-death-", "x-last-death-")  # what RabbitMQ adds on the way through that queue
COUNT = "x-delivery-count"  # quorum queues: how often it was delivered before
OWN = frozenset({ATTEMPT, ROUTING_KEY})


def received(delivery: Delivery, subscription: Subscription) -> ReceivedEvent:
    """Make the event; whatever the message holds, this raises nothing."""
    properties = Properties(delivery.properties)
    headers = properties.headers
    routing_key, attempt = delivery.routing_key, 1
    if headers:
        if delivery.exchange == "" and routing_key == subscription.queue and ATTEMPT in headers:
            attempt = _count(headers[ATTEMPT], 1)
            routing_key = str(headers.get(ROUTING_KEY, routing_key))
            headers = {name: value for name, value in headers.items() if not retried(name)}
        if COUNT in headers:
            attempt += _count(headers[COUNT], 0)
    return ReceivedEvent(
        delivery.body,
        routing_key,
        subscription.source,
        properties.text(MESSAGE_ID) or str(headers.get("evbus-id") or ""),
        headers,
        properties.text(CONTENT_TYPE),
        properties.timestamp,
        delivery.redelivered or attempt > 1,
        attempt,
        None,
        delivery,
        properties.text(REPLY_TO),
        properties.text(CORRELATION_ID),
    )


def retried(name: str) -> bool:
    """Whether a header tells of the way through a queue of retries."""
    return name in OWN or name.startswith(DEATHS)


def _count(value: Any, least: int) -> int:
    return max(least, value) if isinstance(value, int) else least
