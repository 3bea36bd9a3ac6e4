"""Publish to Kafka, and read the record with plain aiokafka.

The broker: EVBUS_TEST_KAFKA (host:port), or localhost:9092 where that is not set. It must create topics by itself.
"""

import asyncio
import os
import uuid

import aiokafka
import pop.hub

BOOTSTRAP = os.environ.get("EVBUS_TEST_KAFKA", "localhost:9092")
TOPIC = f"evbus-example-{uuid.uuid4().hex[:8]}"
PROFILES = {
    "kafka": {
        "default": {
            "connection": {"bootstrap_servers": BOOTSTRAP, "compression_type": "gzip"},
            "topics": [TOPIC],  # without it, the routing key is the topic
        }
    }
}


async def main() -> None:
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    listener = asyncio.create_task(hub.evbus.init.start(PROFILES))
    await hub.evbus.init.join()
    receipt = await hub.evbus.broker.put(
        routing_key="orders.new", body={"id": 1}, key="customer-7", confirm="delivered", timeout=20
    )
    print("confirmed:", list(receipt.outcomes.values()))

    consumer = aiokafka.AIOKafkaConsumer(TOPIC, bootstrap_servers=BOOTSTRAP, auto_offset_reset="earliest")
    await consumer.start()
    try:
        record = await asyncio.wait_for(consumer.getone(), 20)
    finally:
        await consumer.stop()
    print("received:", record.value, "key", record.key)
    print("headers:", [name for name, _ in record.headers])
    print("the event's id is a header:", dict(record.headers)["evbus-id"].decode() == receipt.id)
    account = await hub.evbus.init.stop()
    print(f"delivered {account.delivered} of {account.put}")
    await listener


asyncio.run(main())
