"""An event that its handler gives up is set aside at the broker; look at it with aio-pika, and put it again.

The broker: EVBUS_TEST_AMQP_URL, or localhost where that is not set.
"""

import asyncio
import os

import aio_pika
import pop.hub

from evbus_like.testing import eventually

URL = os.environ.get("EVBUS_TEST_AMQP_URL", "amqp://guest:guest@localhost/")
PROFILES = {"amqp": {"default": {"connection": {"url": URL}}}}
QUEUE = "evt-shop-sold--charging.charge"


async def main() -> None:
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    listener = asyncio.create_task(hub.evbus.init.start(PROFILES))
    await hub.evbus.init.join()
    await hub.evbus.handlers.start()
    await hub.evbus.handlers.join(timeout=60)
    for amount in (5, 5000):
        await hub.evbus.broker.dispatch("shop", "sold", {"amount": amount, "card": "4111 1111"})

    (charging,) = hub.evbus.handlers.status()
    await eventually(lambda: hub.evbus.handlers.status()[charging]["dead"] == 1, timeout=60)
    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel()
        dead = await channel.get_queue(f"{QUEUE}.dead")
        message = await dead.get(timeout=30)
        print("set aside:", message.headers["evbus-dead-reason"])
        print("tried:", message.headers["evbus-dead-attempts"], "times")
        # Once the card is good for it, put the event back with its old id.
        mended = aio_pika.Message(
            message.body.replace(b"5000", b"50"),
            message_id=message.message_id,
            content_type=message.content_type,
            delivery_mode=2,
        )
        await channel.default_exchange.publish(mended, QUEUE)
        await message.ack()
    await eventually(lambda: hub.evbus.handlers.status()[charging]["handled"] == 2, timeout=60)
    await hub.evbus.init.stop()
    await listener


asyncio.run(main())
