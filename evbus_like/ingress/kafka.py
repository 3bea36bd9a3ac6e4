"""Kafka as a destination, through aiokafka: confirmed by all in-sync replicas, idempotent.

.. code-block:: yaml

    kafka:
      default:
        connection:
          bootstrap_servers: kafka1.example.com:9092
        topics: [orders]      # without it, the event's routing key is the topic, or {service}.events
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from evbus_like import errors, plugin
from evbus_like.engine import cloudevents
from evbus_like.hub import conflict, plugins
from evbus_like.hub.profiles import settings

ACCT = ["kafka"]
REQUIRES = ["aiokafka"]
OPTIONS = {
    "connection": (
        Mapping,
        "the cluster: bootstrap_servers, security_protocol, sasl_mechanism, acks, ... (default: localhost:9092)",
    ),
    "ssl": (Mapping, "TLS: ca_file, cert_file, key_file, password, ...; with it there is no plaintext"),
    "topics": (
        (str, list, tuple, type(None)),
        "the topic, or topics, of all events of the profile; each gets every event (default: the routing key;"
        " {service}.events for events of a service)",
    ),
    "key": ((str, bytes, type(None)), "the record key of all events (default: the event's key, else its routing key)"),
    "partition": ((int, type(None)), "the partition of all events (default: the record key decides)"),
    "tombstones": (
        bool,
        "true: an event whose body is None becomes a record without a value, which deletes its key in a compacted"
        " topic, and needs a key (default: false, None is JSON's null)",
    ),
    "format": (str, "cloudevents (or cloudevents-binary), cloudevents-structured: events are sent as CloudEvents 1.0"),
    "allow_plaintext_password": (bool, "true: send a SASL PLAIN password without TLS (default: false)"),
}
LANE = {"batch_events": 4000}  # about four record batches of small events
OVERHEAD = 4096  # bytes left for the record's key and headers


def __virtual__(hub: Any) -> bool | tuple[bool, str]:
    return conflict.none()  # before pop-evbus's contract is applied to this file


def validate(hub: Any, ctx: plugin.Context) -> None:
    """Check the profile without connecting; raises ProfileError."""
    from evbus_like.kafka import connection, topics
    from evbus_like.kafka import settings as kafka_settings

    connection.keywords(ctx.acct)
    for topic in kafka_settings.settings(ctx.acct).topics:
        if wrong := topics.wrong_name(topic):
            raise errors.ProfileError(f"option topics: {wrong.partition(';')[0]}")
    cloudevents.CloudEvents.of(ctx.acct, cloudevents.KAFKA)


def limits(hub: Any, ctx: plugin.Context) -> dict[str, Any]:
    """Return the lane's bounds that follow from the profile, and say what puts must ask."""
    from evbus_like.kafka import plan, refusals

    tombstones = _forms_of_none(hub) if ctx.acct.get("tombstones") else frozenset()
    largest, ask = _largest(ctx), ctx.ask
    limits: dict[str, Any] = {"max_event_bytes": largest, "max_header_bytes": largest}
    source = str(settings.config(hub, "service_name", "") or "")
    made = cloudevents.CloudEvents.of(ctx.acct, cloudevents.KAFKA, source)
    if made is None:
        ctx.planner = plan.Planner(ctx.acct, tombstones)
    else:
        ctx.planner = plan.CloudEventsPlanner(ctx.acct, tombstones, made)
        limits["reserved_headers"] = cloudevents.RESERVED
        limits["max_event_bytes"] = made.largest(largest)
        refusal = made.refusal

        def ask(refuse: Callable[[plugin.Event], str | None], above: int = -1) -> None:
            ctx.ask(lambda event: refusal(event) or refuse(event), above)

    refusals.Refusals(ctx.planner, ask, ctx.acct)
    return limits


def _largest(ctx: plugin.Context) -> int:
    request: int = (ctx.acct.get("connection") or {}).get("max_request_size", 1024 * 1024)
    return max(1, request - OVERHEAD)


def _forms_of_none(hub: Any) -> frozenset[tuple[str, bytes]]:
    """Return what serializers make of the body None, with their content types."""
    found = set()
    for each in plugins.loaded(hub, "serialize").values():
        with suppress(Exception):  # a format without it
            found.add((each.CONTENT_TYPE, each.dump(None)))
    return frozenset(found)


async def open(hub: Any, ctx: plugin.Context) -> None:
    """Connect to the cluster."""
    from evbus_like.kafka import producer

    if "producer" not in ctx:
        ctx.producer = producer.Producer(ctx.acct, ctx.get("planner"))
    await ctx.producer.open()


async def publish_batch(hub: Any, ctx: plugin.Context, events: Sequence[plugin.Event]) -> plugin.Outcomes | None:
    """Publish a batch in order and wait for the cluster's confirms."""
    outcomes: plugin.Outcomes | None = await ctx.producer.publish(events)
    return outcomes


async def ping(hub: Any, ctx: plugin.Context) -> Sequence[str]:
    """Check that the cluster answers, and return advice about the profile's topics."""
    advice: Sequence[str] = await ctx.producer.ping(ctx.acct.get("max_event_bytes") or _largest(ctx))
    return advice


async def close(hub: Any, ctx: plugin.Context) -> None:
    """Stop the producer."""
    if "producer" in ctx:
        await ctx.producer.close()
