"""FastStream as another program: subscribes, publishes one event, and prints what it receives as JSON lines.

`python -m tests.interop.fast_stream rabbit|kafka ADDRESS PLACE IN OUT`: PLACE is a topic exchange, or on Kafka a
topic; IN and OUT are the types of what it receives and publishes.
"""

import asyncio
import json
import sys


async def rabbit(address: str, place: str, taken: str, given: str) -> None:
    """Subscribe with a queue of its own to the exchange."""
    from faststream.rabbit import ExchangeType, RabbitBroker, RabbitExchange, RabbitQueue

    exchange = RabbitExchange(place, type=ExchangeType.TOPIC, durable=True)
    broker = RabbitBroker(address, logger=None)

    @broker.subscriber(RabbitQueue(f"{place}-faststream", routing_key=taken, durable=True), exchange)
    async def receive(body: dict) -> None:  # type: ignore[type-arg]
        print(json.dumps({"received": body}), flush=True)

    async with broker:
        await broker.start()
        await broker.publish({"from": "faststream"}, routing_key=given, exchange=exchange)
        print(json.dumps({"ready": True}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def kafka(address: str, place: str, _taken: str, given: str) -> None:
    """Subscribe to the topic from its beginning; the key is the event's type."""
    from faststream.kafka import KafkaBroker

    broker = KafkaBroker(address, logger=None)

    @broker.subscriber(place, group_id=f"{place}-faststream", auto_offset_reset="earliest")
    async def receive(body: dict) -> None:  # type: ignore[type-arg]
        print(json.dumps({"received": body}), flush=True)

    async with broker:
        await broker.start()
        await broker.publish({"from": "faststream"}, topic=place, key=given.encode())
        print(json.dumps({"ready": True}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run({"rabbit": rabbit, "kafka": kafka}[sys.argv[1]](*sys.argv[2:]))
