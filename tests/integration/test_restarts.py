"""A broker is restarted or frozen while events are sent: no accepted event is lost, and the order is kept."""

import asyncio

import pytest

from evbus_like.testing import eventually, running
from tests.integration.support import DEADLINE, channel, create_topic, queue, read, take

# aiokafka 0.14 leaks the socket of a connection attempt that is cancelled, such as one to a dead broker.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(params=["rabbitmq", "kafka"])
def broker(request):
    return request.getfixturevalue(request.param)


def profiles(broker, name, **options):
    if hasattr(broker, "bootstrap"):
        connection = {"bootstrap_servers": broker.bootstrap, **({"request_timeout_ms": 3000} if options else {})}
        return {"kafka": {"default": {"connection": connection, "topics": [name], **options}}}
    return {"amqp": {"default": {"connection": {"url": broker.url}, "routing_key": name, **options}}}


async def streamed(hub, stop):
    """Put numbers until the event is set; gives how many were accepted."""
    number = 0
    while not stop.is_set():
        await hub.evbus.broker.put("key", number)
        number += 1
        await asyncio.sleep(0.002)
    return number


async def through(hub, disturb):
    """Stream while a blocking function disturbs the broker; gives how many were accepted, and the account."""
    stop = asyncio.Event()
    streaming = asyncio.create_task(streamed(hub, stop))

    def delivered():
        return hub.evbus.init.account().delivered

    try:
        await eventually(lambda: delivered() > 50)
        await asyncio.to_thread(disturb)
        since = delivered()
        await eventually(lambda: delivered() > since + 50, timeout=30.0)
    finally:
        stop.set()
        count = await streaming
    return count, await hub.evbus.init.stop(DEADLINE)


async def test_a_broker_restart_loses_no_event(broker, fresh_name):
    await prepare(broker, fresh_name)
    async with running(profiles(broker, fresh_name)) as hub:
        count, account = await through(hub, broker.restart)
    await check(broker, fresh_name, count, account)


async def test_a_broker_outage_longer_than_the_timeout_loses_no_event(broker, fresh_name):
    await prepare(broker, fresh_name)
    async with running(profiles(broker, fresh_name, timeout=5.0)) as hub:
        loop = asyncio.get_running_loop()

        def leave():
            broker.stop()
            try:
                asyncio.run_coroutine_threadsafe(noticed(hub), loop).result(DEADLINE)
            finally:
                broker.start()

        count, account = await through(hub, leave)
    await check(broker, fresh_name, count, account)


async def test_a_broker_frozen_for_longer_than_the_timeout_loses_no_event(broker, fresh_name):
    await prepare(broker, fresh_name)
    async with running(profiles(broker, fresh_name, timeout=2.0)) as hub:
        loop = asyncio.get_running_loop()

        def freeze():
            broker.pause()
            try:
                asyncio.run_coroutine_threadsafe(noticed(hub), loop).result(DEADLINE)
            finally:
                broker.resume()

        count, account = await through(hub, freeze)
    await check(broker, fresh_name, count, account)


async def noticed(hub):
    """Return when the bus has noticed that its destination does not answer."""
    (name,) = hub.evbus.init.status()["destinations"]
    await eventually(lambda: hub.evbus.init.status()["destinations"][name]["state"] == "retrying")


async def prepare(broker, name):
    if hasattr(broker, "bootstrap"):
        await create_topic(broker.bootstrap, name, partitions=1)
    else:
        async with channel(broker.url) as opened:
            await opened.declare_queue(name, durable=True)


async def check(broker, name, count, account):
    """All arrived, first arrivals in order, no more repeats than retries, and the account agrees."""
    if hasattr(broker, "bootstrap"):
        numbers = [int(record.value) for record in await read(broker.bootstrap, name, count)]
    else:
        async with queue(broker.url, name) as made:
            numbers = [int(message.body) for message in await take(made, count)]
    unique = list(dict.fromkeys(numbers))
    assert unique == list(range(count))
    assert len(numbers) - count <= account.retries
    assert account.complete
    assert account.put == count
