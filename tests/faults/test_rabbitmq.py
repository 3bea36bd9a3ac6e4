"""Faults of RabbitMQ alone: alarms, returned messages, closed channels, revoked permissions."""

import asyncio

import aio_pika
import pytest

from evbus_like.testing import eventually, running
from tests.faults.sender import Sender
from tests.integration.support import DEADLINE, alarm, channel, setting


@pytest.mark.fault(6)
@pytest.mark.parametrize("batched", [True, False], ids=["batched", "one by one"])
async def test_during_an_alarm_the_lane_reports_that_it_is_blocked_and_sends_nothing_twice(
    rabbit_site, stream_through, caplog, batched
):
    async def fault(hub):
        async with alarm(rabbit_site.broker):
            trouble = await rabbit_site.until(hub, "blocked")
            assert "low on memory" in trouble
            assert "rabbitmqctl status" in trouble
            # For several timeouts of the lane and of the heartbeat the connection is kept and nothing is sent again.
            tried, before = rabbit_site.proxy.attempts, rabbit_site.status(hub)
            await asyncio.sleep(9.0)
            after = rabbit_site.status(hub)
            assert rabbit_site.proxy.attempts == tried
            assert [after[name] for name in ("state", "delivered", "retried")] == ["blocked", before["delivered"], 0]

    # Small batches: each is confirmed well within the timeout, also on a busy machine.
    options = {"connection": {"heartbeat": 2}, "timeout": 3.0, "batched": batched, "batch_events": 100}
    account = await stream_through(rabbit_site, fault, at_most=0, **options)
    assert account.retries == 0
    assert sum("takes nothing for now" in line for line in caplog.messages) == 1


@pytest.mark.fault(6)
async def test_a_connection_lost_during_an_alarm_is_noticed_long_before_the_alarm_ends(rabbit_site, stream_through):
    batch = 10

    async def fault(hub):
        async with alarm(rabbit_site.broker):
            await rabbit_site.until(hub, "blocked")
            rabbit_site.proxy.black_hole()
            await rabbit_site.until(hub, "retrying")  # noticed by the heartbeat: the lane's own timeout is suspended
            rabbit_site.proxy.heal()
            await rabbit_site.until(hub, "blocked")

    # RabbitMQ may have stored what it had read before the connection was lost.
    await stream_through(rabbit_site, fault, at_most=batch, batch_events=batch, connection={"heartbeat": 1})


@pytest.mark.fault(6)
@pytest.mark.parametrize("kind", ["memory", "disk"])
async def test_an_alarm_stops_deliveries_and_loses_no_event(rabbit_site, stream_through, kind):
    async def fault(hub):
        async with alarm(rabbit_site.broker, kind):
            await rabbit_site.until(hub, "retrying", "blocked")
            before = rabbit_site.delivered(hub)
            await eventually(lambda: rabbit_site.status(hub)["waiting"] > 1000)
            assert rabbit_site.delivered(hub) == before
            assert hub.evbus.init.account().dead_lettered == 0

    await stream_through(rabbit_site, fault, timeout=1.0)


@pytest.mark.fault(6)
async def test_stop_returns_during_an_alarm_and_counts_the_remaining_events(rabbit_site, report_costs):
    # Given an alarm that has blocked the lane
    sender = Sender()
    async with rabbit_site.bus(timeout=1.0) as hub:
        await sender.put(hub, confirm="delivered")
        async with alarm(rabbit_site.broker):
            for _ in range(20):
                await sender.put(hub)
            await rabbit_site.until(hub, "blocked")
            # When the bus is stopped
            async with asyncio.timeout(DEADLINE):
                account = await hub.evbus.init.stop(2.0)
    # Then every event is in the account: RabbitMQ may have stored events that it never confirmed
    assert (account.delivered, account.remaining) == (1, 20)
    report_costs(sender.check(account, await rabbit_site.arrived()))


@pytest.mark.fault(7, 8)
async def test_of_events_with_equal_content_only_the_returned_ones_are_dead_lettered(rabbitmq, fresh_name):
    # Given a queue for one routing key and none for another
    name = fresh_name
    returned = []
    profile = {"connection": {"url": rabbitmq.url}, "exchange": name}
    async with channel(rabbitmq.url) as opened:
        exchange = await opened.declare_exchange(name, aio_pika.ExchangeType.TOPIC)
        queue = await opened.declare_queue(name)
        await queue.bind(exchange, "here")
        async with running({"amqp": {"default": profile}}) as hub:
            hub.evbus.RUNTIME.bus.lanes[0].report = lambda failure: returned.append(failure.event.id)
            # When one batch mixes both, all of the same content
            sent = {"here": [], "nowhere": []}
            for number in range(600):
                key = "nowhere" if number % 3 == 1 else "here"
                sent[key].append(hub.evbus.broker.put_nowait(key, {"same": True}))
            account = await hub.evbus.init.stop(DEADLINE)
        # Then only those without a queue are dead-lettered, none of them twice
        ids = []
        while message := await queue.get(no_ack=True, fail=False):
            ids.append(message.message_id)
        await queue.delete()
        await exchange.delete()
    assert ids == sent["here"]
    assert returned == sent["nowhere"]
    assert (account.delivered, account.dead_lettered, account.remaining) == (400, 200, 0)


@pytest.mark.fault(9)
async def test_only_the_message_over_the_size_limit_of_the_broker_is_dead_lettered(rabbit_site, report_costs):
    # Given a broker with a lower limit than the profile assumes, which closes the channel
    sender = Sender()
    with setting(rabbit_site.broker, "max_message_size", 50_000):
        # When a message in the middle of a batch is too large
        async with rabbit_site.bus() as hub:
            for number in range(101):
                sender.put_nowait(hub, size=60_000 if number == 50 else 0)
            account = await hub.evbus.init.stop(DEADLINE)
    # Then only that one is missing; those before it are sent once more and counted as retries
    costs = sender.check(account, await rabbit_site.arrived())
    report_costs(costs)
    assert costs.repeats <= 100
    assert (account.delivered, account.dead_lettered, account.remaining) == (100, 1, 0)
    assert costs.missing == 1


@pytest.mark.fault(10)
async def test_events_wait_while_their_exchange_is_missing_and_arrive_when_it_is_back(rabbit_site, stream_through):
    async def fault(hub):
        async with channel(rabbit_site.broker.url) as opened:
            await (await opened.get_exchange(rabbit_site.name)).delete()
        trouble = await rabbit_site.until(hub, "refused")
        assert rabbit_site.name in trouble
        async with channel(rabbit_site.broker.url) as opened:
            # The queue is bound before the exchange exists, so that no event is sent to an exchange without a queue.
            queue = await opened.declare_queue(rabbit_site.name, passive=True)
            spare = await opened.declare_exchange(f"{rabbit_site.name}-spare", aio_pika.ExchangeType.FANOUT)
            await queue.bind(spare)
            arguments = {"alternate-exchange": f"{rabbit_site.name}-spare"}
            await opened.declare_exchange(
                rabbit_site.name, aio_pika.ExchangeType.TOPIC, durable=True, arguments=arguments
            )

    await stream_through(rabbit_site, fault)


@pytest.mark.fault(10)
async def test_a_missing_exchange_does_not_affect_other_lanes_of_the_broker(rabbit_site, fresh_name, report_costs):
    # Given two profiles of one broker, one of whose exchanges is missing
    sender = Sender()
    good, bad = rabbit_site.profile(), rabbit_site.profile(exchange=f"{fresh_name}-missing")
    async with running({"amqp": {"default": good, "bad": bad}}) as hub:
        for _ in range(100):
            hub.evbus.broker.put_nowait("key", 1, "bad")
            await sender.put(hub, confirm="delivered")
        account = await hub.evbus.init.stop(5.0)
    # Then all events of the one are delivered, and all of the other wait
    assert [(lane.delivered, lane.remaining) for lane in account.lanes] == [(100, 0), (0, 100)]
    arrived = await rabbit_site.arrived()
    assert [message.id for message in arrived] == list(sender.events)


@pytest.mark.fault(11)
async def test_events_wait_while_permissions_are_revoked_and_arrive_when_they_are_granted_again(
    rabbit_site, stream_through
):
    broker, user = rabbit_site.broker, rabbit_site.name

    def grant(write):
        broker.ctl("set_permissions", user, "", write, "")

    async def fault(hub):
        await asyncio.to_thread(grant, "")
        rabbit_site.proxy.reset()  # RabbitMQ checks permissions once per busy channel and caches the result
        trouble = await rabbit_site.until(hub, "refused")
        assert "ACCESS_REFUSED" in trouble
        assert hub.evbus.init.account().dead_lettered == 0
        await asyncio.to_thread(grant, ".*")

    await asyncio.to_thread(broker.ctl, "add_user", user, "a-password")
    try:
        await asyncio.to_thread(grant, ".*")
        await stream_through(rabbit_site, fault, connection={"login": user, "password": "a-password"})
    finally:
        await asyncio.to_thread(broker.ctl, "delete_user", user)


@pytest.mark.fault(12)
async def test_a_wrong_password_is_a_clear_error_that_does_not_show_the_password(rabbit_site, caplog):
    connection = {"login": "guest", "password": "not-this-one"}
    async with rabbit_site.bus(connection=connection) as hub:
        await hub.evbus.broker.put("key", 1)
        trouble = await rabbit_site.until(hub, "refused")
        account = await hub.evbus.init.stop(5.0)
    assert "'guest'" in trouble
    assert "password" in trouble
    assert "not-this-one" not in f"{caplog.text} {trouble} {account} {account.as_dict()}"
    assert account.remaining == 1
