"""Plain readers of the brokers, and helpers that show the status of a bus."""

import asyncio
from contextlib import asynccontextmanager, contextmanager

import aio_pika
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from evbus_like.testing import eventually, running

ALARMS = {  # the command, a value that raises the alarm, and the default
    "memory": ("set_vm_memory_high_watermark", "0.0001", "0.6"),
    "disk": ("set_disk_free_limit", "100000GB", "50MB"),
}
DEADLINE = 60.0  # seconds: only stops a hang
QUICK = {"refused_cap": 0.2}  # a retry: block, so that a repaired destination is noticed soon


@asynccontextmanager
async def channel(url):
    """Give a plain aio-pika channel."""
    async with await aio_pika.connect(url) as connection:
        yield await connection.channel()


@asynccontextmanager
async def alarm(rabbitmq, kind="memory"):
    """Raise the memory alarm of RabbitMQ, or that of the disk."""
    command, raised, usual = ALARMS[kind]
    await asyncio.to_thread(rabbitmq.ctl, command, raised)
    try:
        yield
    finally:
        await asyncio.to_thread(rabbitmq.ctl, command, usual)


@asynccontextmanager
async def queue(url, name, exchange=None, **binding):
    """Declare a durable queue, bound to an exchange if one is named; it is deleted at the end."""
    async with channel(url) as opened:
        made = await opened.declare_queue(name, durable=True)
        if exchange is not None:
            await made.bind(exchange, **binding)
        yield made
        await made.delete(if_unused=False, if_empty=False)


async def consumers(url, name):
    """Count the consumers of a queue, 0 if there is no such queue."""
    async with channel(url) as opened:
        try:
            made = await opened.declare_queue(name, passive=True)
        except aio_pika.exceptions.ChannelNotFoundEntity:
            return 0
        return made.declaration_result.consumer_count


async def take(made, count):
    """Take at least `count` messages off an aio-pika queue, and all others that it has."""
    taken = []
    async with asyncio.timeout(DEADLINE):
        while (message := await made.get(no_ack=True, fail=False)) or len(taken) < count:
            if message is None:
                await asyncio.sleep(0.05)
            else:
                taken.append(message)
    return taken


async def read(bootstrap, topic, count, **settings):
    """Read a Kafka topic from its beginning: at least `count` records, and all others that it has."""
    records = []
    async with (
        asyncio.timeout(DEADLINE),
        AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", **settings) as consumer,
    ):
        while len(records) < count or any((await lags(consumer)).values()):
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                records += batch
    return records


async def lags(consumer):
    """Count the records of each partition that a consumer has not read yet."""
    ends = await consumer.end_offsets(list(consumer.assignment()))
    return {partition: end - await consumer.position(partition) for partition, end in ends.items()}


async def create_topic(bootstrap, name, partitions=2, **configs):
    """Create a Kafka topic; configs have `_` where Kafka has `.`."""
    given = {each.replace("_", "."): value for each, value in configs.items()}
    async with asyncio.timeout(DEADLINE):
        while True:
            admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
            await admin.start()
            try:
                await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=given)])
                return
            except AttributeError:  # the broker has just started again, and the client got no controller from it
                await asyncio.sleep(0.1)
            finally:
                await admin.close()


async def alter_topic(bootstrap, name, **configs):
    """Change the configuration of a Kafka topic; configs have `_` where Kafka has `.`."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        changed = {each.replace("_", "."): value for each, value in configs.items()}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=changed)])
    finally:
        await admin.close()


def status(hub, name):
    """Give the status of a destination."""
    return hub.evbus.init.status()["destinations"][name]


async def until(hub, name, state):
    """Wait until a destination has a state, and give its trouble."""
    await eventually(lambda: status(hub, name)["state"] == state)
    return status(hub, name)["trouble"]


async def trouble_with(profiles, *states):
    """Put one event for a destination that cannot take it, and give the trouble that the status shows.

    The event must remain when the bus is stopped, and the stop must return.
    """
    async with running(profiles) as hub:
        (name,) = hub.evbus.init.status()["destinations"]
        await hub.evbus.broker.put("nowhere", {"n": 1})
        await eventually(lambda: status(hub, name)["state"] in states, timeout=20.0)
        trouble = status(hub, name)["trouble"]
        async with asyncio.timeout(DEADLINE):
            account = await hub.evbus.init.stop(5.0)
    assert account.balanced
    assert (account.accepted, account.delivered, account.dead_lettered, account.remaining) == (1, 0, 0, 1)
    return trouble


async def publish_fast(url, exchange, routing_key, count):
    """Publish the numbers below `count` as JSON, persistent, without waiting for confirms."""
    async with await aio_pika.connect(url) as connection:
        opened = await connection.channel(publisher_confirms=False)
        place = await opened.declare_exchange(exchange, "topic", durable=True)
        for number in range(count):
            message = aio_pika.Message(str(number).encode(), content_type="application/json", delivery_mode=2)
            await place.publish(message, routing_key, mandatory=False)


async def lengths(opened, name):
    """Count the messages of a queue and of its dead letters that are ready; 0 for a queue that does not exist."""
    found = []
    for each in (name, f"{name}.dead"):
        try:
            made = await opened.declare_queue(each, passive=True)
        except aio_pika.exceptions.ChannelNotFoundEntity:
            await opened.reopen()
            found.append(0)
        else:
            found.append(made.declaration_result.message_count)
    return found


def without_type(arguments):
    """Give a queue's arguments without the type that RabbitMQ 4 lists for classic queues, which nobody declared."""
    return [argument for argument in arguments if argument != ["x-queue-type", "longstr", "classic"]]


@contextmanager
def setting(rabbitmq, name, value):
    """Change a setting of RabbitMQ; connections that are made meanwhile get it."""
    # RabbitMQ 4 keeps some in persistent terms, too.
    change = (
        f"Change = fun(New) -> application:set_env(rabbit, {name}, New),"
        f" persistent_term:get({name}, none) =:= none orelse persistent_term:put({name}, New) end"
    )
    usual = rabbitmq.evaluate(f"{change}, {{ok, Usual}} = application:get_env(rabbit, {name}), Change({value}), Usual.")
    try:
        yield
    finally:
        rabbitmq.evaluate(f"{change}, Change({usual}).")
