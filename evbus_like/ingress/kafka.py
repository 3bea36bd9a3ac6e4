"""Kafka, through aiokafka: confirmed by all in-sync replicas, idempotent.

.. code-block:: yaml

    kafka:
      default:
        connection:
          bootstrap_servers: kafka1.example.com:9092
        topics: [orders]      # without it, the event's routing key is the topic, or {service}.events
"""

from collections.abc import Mapping

from evbus_like.hub import conflict

ACCT = ["kafka"]
REQUIRES = ["aiokafka"]
OPTIONS = {
    "connection": (Mapping, "bootstrap_servers, security_protocol, sasl_mechanism, acks, compression_type, ..."),
    "ssl": (Mapping, "TLS: ca_file, cert_file, key_file, password, ...; asking for it means TLS or nothing"),
    "topics": ((str, list, tuple, type(None)), "the topic, or topics, of all events of the profile"),
    "key": ((str, bytes, type(None)), "the record key of all events; else the event's key, else its routing key"),
    "partition": ((int, type(None)), "the partition of all events; else the record key decides"),
    "allow_plaintext_password": (bool, "true: send a SASL PLAIN password without TLS"),
}
LANE = {"batch_events": 4000}  # four record batches of small events, or so
OVERHEAD = 4096  # bytes left for the record's key and headers


def __virtual__(hub):
    return conflict.none()  # before pop-evbus's contract is applied to this file


def validate(hub, ctx):
    """Check the profile without connecting; raises ProfileError."""
    from evbus_like.kafka import connection

    connection.keywords(ctx.acct)


def limits(hub, ctx):
    """Give the lane's bounds that follow from the profile."""
    largest = (ctx.acct.get("connection") or {}).get("max_request_size", 1024 * 1024)
    return {"max_event_bytes": max(1, largest - OVERHEAD)}


async def open(hub, ctx):
    """Connect to the cluster."""
    from evbus_like.kafka import producer

    if "producer" not in ctx:
        ctx.producer = producer.Producer(ctx.acct)
    await ctx.producer.open()


async def publish_batch(hub, ctx, events):
    """Send a batch in order and wait for the cluster's confirms."""
    return await ctx.producer.publish(events)


async def ping(hub, ctx):
    """Ask the cluster for a sign of life."""
    await ctx.producer.ping()


async def close(hub, ctx):
    """Stop the producer."""
    if "producer" in ctx:
        await ctx.producer.close()
