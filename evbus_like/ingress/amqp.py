"""RabbitMQ as a destination, through aio-pika: confirmed, persistent, and an event that no queue takes is an error.

.. code-block:: yaml

    amqp:                     # or pika, or rabbitmq
      default:
        connection:
          url: amqp://user:password@rabbit.example.com/
        exchange: orders      # without it, the default exchange: the routing key is the queue's name; the events
                              # of a service go to the topic exchange {service}.events
        declare: {type: topic, durable: true}
"""

from collections.abc import Mapping, Sequence
from typing import Any

from evbus_like import errors, plugin
from evbus_like.engine import cloudevents
from evbus_like.engine.event import MAX_CARRIED, MAX_HEADER_NAME
from evbus_like.hub import conflict
from evbus_like.hub.profiles import settings as config

ACCT = ["amqp", "pika", "rabbitmq"]
REQUIRES = ["aio_pika"]
OPTIONS = {
    "connection": (
        (str, list, tuple, Mapping),
        "the broker: a URL, a list of URLs for a cluster, or a mapping: url, host, hosts, port, login, password,"
        " virtualhost, ... (default: guest on localhost)",
    ),
    "ssl": (Mapping, "TLS: ca_file, cert_file, key_file, password, ...; with it there is no plaintext"),
    "exchange": (str, "the exchange (default: AMQP's default exchange, where the routing key is the queue's name)"),
    "declare": (
        Mapping,
        "declare the exchange when connecting: type, durable, auto_delete, internal, arguments (default: it must"
        " exist)",
    ),
    "declare_events": (
        bool,
        "false: the exchange for the events of a service must exist (default: true, it is declared before the"
        " first one)",
    ),
    "routing_key": ((str, type(None)), "the routing key of all events of the profile (default: the event's)"),
    "mandatory": (
        bool,
        "false: an event that no queue wants vanishes, and counts as delivered (default: true; for events of"
        " services false)",
    ),
    "persistent": (bool, "false: messages need not survive a restart of the broker (default: true)"),
    "app_id": (str, "what messages say of their sender"),
    "id_header": (str, "the name of a header that holds the event's id too, for readers that look there"),
    "format": (str, "cloudevents (or cloudevents-binary), cloudevents-structured: events are sent as CloudEvents 1.0"),
    "cloudevents_prefix": (
        str,
        "the prefix of a CloudEvent's headers in binary mode: cloudEvents: or ce- (default: cloudEvents_)",
    ),
    "batched": (
        bool,
        "false: publish one by one through aio-pika's public interface, much slower, for trouble-shooting"
        " (default: true)",
    ),
}
ATTRIBUTES = 2048  # bytes of the attributes that every CloudEvent has
NO_ASKING = 2**53  # bytes of a body: puts ask about events with headers alone
LANE: dict[str, Any] = {
    "max_event_bytes": 16 * 1024 * 1024,  # RabbitMQ 4's default
    # What RabbitMQ takes in a frame by default (frame_max, 131072), less 1024 for the frame and the other properties,
    # and less what a chain of events carries. A smaller frame is known only once connected: the encoder checks that.
    "max_header_bytes": 131072 - 1024 - MAX_CARRIED,
    "takes_priority": True,
    "reserved_headers": ("CC", "BCC"),  # further routing keys; a value of another type closes the channel
}


def __virtual__(hub: Any) -> bool | tuple[bool, str]:
    return conflict.none()  # before pop-evbus's contract is applied to this file


def validate(hub: Any, ctx: plugin.Context) -> None:
    """Check the profile without connecting; raises ProfileError."""
    from evbus_like.amqp import settings

    settings.targets(ctx.acct)
    settings.check_declare(ctx.acct)
    settings.cloud_events(ctx.acct)
    for option in ("app_id", "id_header"):
        if len(ctx.acct.get(option, "").encode()) > MAX_HEADER_NAME:
            raise errors.ProfileError(f"{option} is longer than {MAX_HEADER_NAME} bytes")


def limits(hub: Any, ctx: plugin.Context) -> dict[str, Any]:
    """Return what a profile of CloudEvents takes, and let puts ask about their attributes."""
    from evbus_like.amqp import settings

    ctx.cloud_events = settings.cloud_events(ctx.acct, str(config.config(hub, "service_name", "") or ""))
    if ctx.cloud_events is None:
        return {}
    ctx.ask(ctx.cloud_events.refusal, NO_ASKING)
    return {
        "max_event_bytes": ctx.cloud_events.largest(LANE["max_event_bytes"]),
        "max_header_bytes": (LANE["max_header_bytes"] - ATTRIBUTES) // 2,  # a header may be an attribute, too
        "reserved_headers": (*LANE["reserved_headers"], *cloudevents.RESERVED),
    }


async def open(hub: Any, ctx: plugin.Context) -> None:
    """Connect and look up the exchange."""
    from evbus_like.amqp import hosts, publisher, settings

    if "publisher" not in ctx:
        found = hosts.Hosts(settings.targets(ctx.acct))
        ctx.publisher = publisher.Publisher(found, ctx.acct, ctx.blocked, ctx.get("cloud_events"))
    await ctx.publisher.open()


async def publish_batch(hub: Any, ctx: plugin.Context, events: Sequence[plugin.Event]) -> plugin.Outcomes | None:
    """Publish a batch in order and wait for the broker's confirms."""
    outcomes: plugin.Outcomes | None = await ctx.publisher.publish(events)
    return outcomes


async def ping(hub: Any, ctx: plugin.Context) -> None:
    """Check that the broker answers."""
    await ctx.publisher.ping()


async def close(hub: Any, ctx: plugin.Context) -> None:
    """Close the connection."""
    if "publisher" in ctx:
        await ctx.publisher.close()
