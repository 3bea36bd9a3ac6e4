"""Publish to RabbitMQ, and read the message with plain aio-pika.

The broker: EVBUS_TEST_AMQP_URL, or amqp://guest:guest@localhost/ where that is not set.
"""

import asyncio
import os

import aio_pika
import pop.hub

URL = os.environ.get("EVBUS_TEST_AMQP_URL", "amqp://guest:guest@localhost/")
PROFILES = {
    "amqp": {
        "default": {
            "connection": URL,
            "exchange": "evbus-example",
            "declare": {"type": "topic", "durable": False, "auto_delete": True},
        }
    }
}


async def main() -> None:
    # Somebody has to want the event: an unroutable one is an error, not a success.
    async with await aio_pika.connect(URL, timeout=10) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("evbus-example", "topic", durable=False, auto_delete=True)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange, "orders.*")

        hub = pop.hub.Hub()
        hub.pop.sub.add(dyne_name="evbus")
        listener = asyncio.create_task(hub.evbus.init.start(PROFILES))
        await hub.evbus.init.join()
        receipt = await hub.evbus.broker.put(
            routing_key="orders.new", body={"id": 1}, headers={"shop": "north"}, confirm="delivered", timeout=20
        )
        print("confirmed:", receipt.outcomes)

        message = await queue.get(timeout=10)
        print("received:", message.body, message.routing_key, message.content_type)
        print("the event's id is the message id:", message.message_id == receipt.id)
        print("headers:", sorted(message.headers))
        await message.ack()
        print(await hub.evbus.init.stop())
        await listener


asyncio.run(main())
