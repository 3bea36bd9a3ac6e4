"""Kafka as a source while the broker is killed, frozen, absent, cut off or refuses: nothing is lost, nothing hangs."""

import asyncio
import time

import pytest

from evbus_like.engine.receiving.rules import REJECT
from evbus_like.engine.receiving.subscription import BROADCAST
from evbus_like.testing import eventually
from tests.brokers.outside import OutsideBroker
from tests.brokers.ports import free_port
from tests.faults.proxy import Proxy
from tests.integration.records import publish, wait_until_committed
from tests.integration.sources import handler, receiving, stats_of
from tests.integration.support import create_topic, read

# aiokafka 0.14 leaks the socket of a connection that is cancelled half-way, as one to a dead broker is.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

COUNT = 300
KINDS = [{}, {"delivery": BROADCAST, "reliable": False}]
NAMES = ["pool", "broadcast"]


def profiles(bootstrap, connection=None, **options):
    given = {"bootstrap_servers": bootstrap, **(connection or {})}
    return {"kafka": {"default": {"connection": given, "session_timeout": 3, **options}}}


@pytest.fixture
def proxy(kafka):
    """A proxy before Kafka, at the address that this Kafka gives to those who come through it."""
    if isinstance(kafka, OutsideBroker):
        kafka.start()  # skips
    with Proxy(kafka.proxied_port, kafka.proxy_port) as made:
        yield made


class Slow:
    """A handler that takes a moment, and keeps what it handled."""

    def __init__(self, seconds=0.01):
        self.seconds = seconds
        self.handled = []

    async def take(self, event):
        await asyncio.sleep(self.seconds)
        self.handled.append(event.body)


async def through(kafka, name, bootstrap, disturb, **options):
    """Handle a stream while something is done to the broker; gives what was handled, in order."""
    slow = Slow()
    await create_topic(kafka.bootstrap, f"{name}.events")
    async with receiving(profiles(bootstrap, timeout=10), handler(slow.take, name, **options)) as group:
        await publish(kafka.bootstrap, f"{name}.events", range(COUNT))
        await eventually(lambda: len(slow.handled) > COUNT / 3)
        await disturb()
        await publish(kafka.bootstrap, f"{name}.events", range(COUNT, 2 * COUNT))
        await eventually(lambda: len(set(slow.handled)) == 2 * COUNT, timeout=120.0)
        await eventually(lambda: stats_of(group)["state"] == "open")
        if not options:
            await wait_until_committed(
                kafka.bootstrap, f"{name}.events", f"evt-{name}-created--shipping.take", 2 * COUNT
            )
    return slow.handled


@pytest.mark.parametrize("options", KINDS, ids=NAMES)
async def test_a_broker_that_is_killed_and_started_again_is_read_on(kafka, fresh_name, options, record_property):
    async def disturb():
        await asyncio.to_thread(kafka.kill)
        await asyncio.sleep(2)
        await asyncio.to_thread(kafka.start)

    handled = await through(kafka, fresh_name, kafka.bootstrap, disturb, **options)
    record_property("costs", f"{len(handled) - 2 * COUNT} repeats")


async def test_an_outage_beyond_the_timeout_is_reported_and_survived(kafka, fresh_name):
    slow = Slow()
    await create_topic(kafka.bootstrap, f"{fresh_name}.events")
    async with receiving(profiles(kafka.bootstrap, timeout=3), handler(slow.take, fresh_name)) as group:
        await publish(kafka.bootstrap, f"{fresh_name}.events", range(10))
        await eventually(lambda: len(slow.handled) == 10)
        await asyncio.to_thread(kafka.kill)
        try:
            await eventually(lambda: stats_of(group)["state"] == "retrying", timeout=90.0)
            assert kafka.bootstrap in stats_of(group)["trouble"]
        finally:
            await asyncio.to_thread(kafka.start)
        await publish(kafka.bootstrap, f"{fresh_name}.events", range(10, 20))
        await eventually(lambda: set(slow.handled) == set(range(20)))
        assert (stats_of(group)["state"], stats_of(group)["trouble"]) == ("open", "")


async def test_a_broker_that_is_frozen_for_longer_than_the_session_is_read_on(kafka, fresh_name):
    async def disturb():
        await asyncio.to_thread(kafka.pause)
        await asyncio.sleep(8)
        await asyncio.to_thread(kafka.resume)

    await through(kafka, fresh_name, kafka.bootstrap, disturb)


@pytest.mark.parametrize("options", KINDS, ids=NAMES)
async def test_connections_that_are_reset_are_made_again(kafka, proxy, fresh_name, options):
    async def disturb():
        proxy.reset()
        await asyncio.sleep(0.5)
        proxy.refuse()
        await asyncio.sleep(2)
        proxy.heal()

    await through(kafka, fresh_name, f"127.0.0.1:{proxy.port}", disturb, **options)


@pytest.mark.parametrize("options", KINDS, ids=NAMES)
async def test_a_network_that_swallows_everything_for_a_while_is_survived(kafka, proxy, fresh_name, options):
    async def disturb():
        proxy.black_hole()
        await asyncio.sleep(15)
        proxy.heal()

    await through(kafka, fresh_name, f"127.0.0.1:{proxy.port}", disturb, **options)


async def test_a_broker_that_is_absent_at_the_start_is_waited_for(kafka, proxy, fresh_name):
    slow = Slow()
    await create_topic(kafka.bootstrap, f"{fresh_name}.events")
    proxy.refuse()
    made = handler(slow.take, fresh_name)
    async with receiving(profiles(f"127.0.0.1:{proxy.port}"), made, wait=False) as group:
        await eventually(lambda: stats_of(group)["state"] == "retrying")
        assert "cannot connect" in stats_of(group)["trouble"]
        proxy.heal()
        await group.subscribed(60.0)
        await publish(kafka.bootstrap, f"{fresh_name}.events", range(3))
        await eventually(lambda: len(slow.handled) == 3)


async def test_a_wrong_password_is_a_refusal_that_shows_no_password(kafka, fresh_name):
    ca = {"ca_file": str(kafka.needs_tls().ca)}
    login = {"sasl_mechanism": "SCRAM-SHA-256", "sasl_plain_username": "evbus", "sasl_plain_password": "wr0ng-secret"}
    made = handler(Slow().take, fresh_name)
    async with receiving(profiles(kafka.sasl_bootstrap, login, ssl=ca), made, wait=False) as group:
        await eventually(lambda: stats_of(group)["state"] == "refused")
        assert "refused the login of user 'evbus'" in stats_of(group)["trouble"]
        assert "wr0ng-secret" not in stats_of(group)["trouble"]


async def test_a_session_that_the_broker_does_not_allow_is_a_refusal(kafka, fresh_name):
    made = handler(Slow().take, fresh_name)
    async with receiving(profiles(kafka.bootstrap, session_timeout=86_400), made, wait=False) as group:
        await eventually(lambda: stats_of(group)["state"] == "refused")
        assert "INVALID_SESSION_TIMEOUT" in stats_of(group)["trouble"]


async def test_events_and_dead_letters_go_over_tls_with_a_password(kafka, fresh_name):
    ca = {"ca_file": str(kafka.needs_tls().ca)}
    login = {
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": kafka.sasl_user,
        "sasl_plain_password": kafka.sasl_password,
    }
    await create_topic(kafka.bootstrap, f"{fresh_name}.events")

    async def take(event):
        raise ValueError("broken")

    made = handler(take, fresh_name, on_error=REJECT)
    async with receiving(profiles(kafka.sasl_bootstrap, login, ssl=ca), made) as group:
        await publish(kafka.bootstrap, f"{fresh_name}.events", [1])
        await eventually(lambda: stats_of(group)["dead"] == 1)
    assert len(await read(kafka.bootstrap, f"evt-{fresh_name}-created--shipping.take.dead", 1)) == 1


async def test_nobody_there_at_all_does_not_hold_up_the_stop(fresh_name):
    made = handler(Slow().take, fresh_name)
    async with receiving(profiles(f"127.0.0.1:{free_port()}"), made, wait=False) as group:
        await eventually(lambda: stats_of(group)["state"] == "retrying")
        begun = time.monotonic()
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("how", ["killed", "frozen"])
@pytest.mark.parametrize("options", KINDS, ids=NAMES)
async def test_a_stop_ends_though_the_broker_is_gone(kafka, fresh_name, how, options):
    slow = Slow()
    await create_topic(kafka.bootstrap, f"{fresh_name}.events")

    async def take(event):
        await slow.take(event)
        raise ValueError("so that there is a producer of dead letters, too")

    try:
        made = handler(take, fresh_name, on_error=REJECT, **options)
        async with receiving(profiles(kafka.bootstrap), made, timeout=40.0) as group:
            await publish(kafka.bootstrap, f"{fresh_name}.events", range(20))
            await eventually(lambda: stats_of(group)["dead"] == 20)
            await asyncio.to_thread(kafka.kill if how == "killed" else kafka.pause)
            begun = time.monotonic()
        took = time.monotonic() - begun
    finally:
        await asyncio.to_thread(kafka.resume)
        await asyncio.to_thread(kafka.start)
    assert took < 40
