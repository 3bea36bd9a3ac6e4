"""The broker or the network fails: accepted events arrive, and the account is right."""

import asyncio

import pytest

from evbus_like.testing import eventually
from tests.faults.proxy import DOWN, UP
from tests.faults.sender import Sender
from tests.integration.support import DEADLINE

BATCH = 50  # events in flight at most


@pytest.mark.fault(1)
async def test_a_killed_broker_loses_no_event_and_only_events_in_flight_are_repeated(site, stream_through):
    async def fault(hub):
        await site.kill()
        await site.until(hub, "retrying")
        await site.start()

    await stream_through(site, fault, at_most=BATCH, batch_events=BATCH)


@pytest.mark.fault(1, 4)
async def test_reset_connections_lose_no_event(site, stream_through):
    async def fault(hub):
        for _ in range(5):
            site.proxy.reset()
            await site.flows(hub)

    await stream_through(site, fault, at_most=5 * BATCH, batch_events=BATCH)
    assert site.proxy.attempts > 5


@pytest.mark.fault(2)
@pytest.mark.parametrize("connected", [False, True], ids=["from the start", "later"])
async def test_a_broker_that_hangs_up_is_retried_with_pauses(site, report_costs, connected):
    # Given a broker that hangs up on every client, from the start or after a while
    sender = Sender()
    if not connected:
        site.proxy.hang_up()
    async with site.bus(retry={"first": 0.1, "max": 1.0}) as hub:
        if connected:
            await sender.put(hub, confirm="delivered")
            site.proxy.hang_up()
        # When events are put, no put is held up
        for _ in range(20):
            await asyncio.wait_for(sender.put(hub), DEADLINE)
        await site.until(hub, "retrying")
        before = site.proxy.attempts
        await asyncio.sleep(2.0)
        tried = site.proxy.attempts - before
        # Then it is retried now and then: not never, and not thousands of times as by a busy loop
        assert 1 <= tried <= 100
        # And everything arrives once it answers again
        site.proxy.heal()
        account = await hub.evbus.init.stop(DEADLINE)
    report_costs(sender.check(account, await site.arrived()))
    assert account.complete


@pytest.mark.fault(2)
async def test_a_closed_port_is_retried_with_growing_pauses(site, report_costs):
    # Given a closed port
    sender = Sender()
    site.proxy.refuse()
    async with site.bus(retry={"first": 0.1, "max": 1.0}) as hub:
        await sender.put(hub)
        await eventually(lambda: hub.evbus.init.account().retries >= 1)
        # When one event has waited for a while: each attempt counts it once
        await asyncio.sleep(2.0)
        assert 1 <= hub.evbus.init.account().retries <= 40
        site.proxy.heal()
        account = await hub.evbus.init.stop(DEADLINE)
    report_costs(sender.check(account, await site.arrived(), at_most=0))
    assert account.complete


@pytest.mark.fault(3)
async def test_a_black_holed_network_is_noticed_at_the_timeout_and_loses_no_event(site, stream_through):
    async def fault(hub):
        site.proxy.black_hole()
        await site.until(hub, "retrying")
        site.proxy.heal()

    await stream_through(site, fault, timeout=1.0)


@pytest.mark.fault(3)
@pytest.mark.parametrize("direction", [UP, DOWN])
async def test_a_half_open_connection_is_noticed_at_the_timeout_and_loses_no_event(site, stream_through, direction):
    async def fault(hub):
        site.proxy.freeze(direction)
        await site.until(hub, "retrying")
        site.proxy.heal()

    await stream_through(site, fault, timeout=1.0)


@pytest.mark.fault(3)
async def test_a_frozen_rabbitmq_is_noticed_by_the_heartbeat_long_before_the_timeout(rabbit_site, stream_through):
    # The heartbeat makes aiormq cancel tasks that wait for a confirm: a CancelledError that nobody requested.
    async def fault(hub):
        rabbit_site.broker.pause()
        try:
            await rabbit_site.until(hub, "retrying")
        finally:
            rabbit_site.broker.resume()

    await stream_through(rabbit_site, fault, connection={"heartbeat": 1}, timeout=600.0)


@pytest.mark.fault(3)
async def test_a_frozen_kafka_is_noticed_at_the_timeout_and_loses_no_event(kafka_site, stream_through):
    async def fault(hub):
        kafka_site.broker.pause()
        try:
            await kafka_site.until(hub, "retrying")
        finally:
            kafka_site.broker.resume()

    await stream_through(kafka_site, fault, timeout=1.0)


@pytest.mark.fault(3)
async def test_a_cancellation_by_the_client_library_does_not_end_the_worker(site, report_costs):
    # Given a client library that cancels the task that calls it
    sender = Sender()
    async with site.bus() as hub:
        await sender.put(hub, confirm="delivered")
        (lane,) = hub.evbus.RUNTIME.bus.lanes
        publish, cancelled = lane.destination.publish, []

        async def cancel_once(events):
            outcome = await publish(events)
            if len(cancelled) < 3:
                cancelled.append(len(events))
                raise asyncio.CancelledError
            return outcome

        lane.destination.publish = cancel_once
        # When events are put
        for _ in range(30):
            await sender.put(hub)
        await eventually(lambda: len(cancelled) == 3)
        # Then the worker continues and sends again the events with an unknown outcome
        await sender.put(hub, confirm="delivered")
        account = await hub.evbus.init.stop(DEADLINE)
    costs = sender.check(account, await site.arrived(), at_most=sum(cancelled))
    report_costs(costs)
    assert account.complete
    assert costs.repeats == sum(cancelled)


@pytest.mark.fault(4)
@pytest.mark.parametrize(("direction", "bytes_"), [(UP, 40_001), (UP, 120_003), (DOWN, 5), (DOWN, 60)])
async def test_a_reset_in_the_middle_of_a_frame_marks_no_undelivered_event_as_delivered(
    site, report_costs, direction, bytes_
):
    # Given a connection that will be reset in the middle of a batch, or of its confirms
    sender = Sender()
    async with site.bus(batch_events=100) as hub:
        await sender.put(hub, confirm="delivered")
        site.proxy.cut_after(bytes_, direction, hang_up=True)
        # When four batches of 60 kB are sent
        for _ in range(400):
            sender.put_nowait(hub, size=500)
        await site.until(hub, "retrying")
        # Then every event counted as delivered is there
        assert site.proxy.was_cut.is_set()
        delivered = hub.evbus.init.account().delivered
        assert delivered <= await site.count()
        assert delivered < 401
        # And the rest is sent again, in order
        site.proxy.heal()
        account = await hub.evbus.init.stop(DEADLINE)
    report_costs(sender.check(account, await site.arrived()))
    assert account.complete
