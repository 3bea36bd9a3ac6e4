"""What is seen from outside of a bus on a real broker that is killed and comes back: readiness, metrics, status."""

import asyncio
import json

from evbus_like.testing import eventually, running
from tests.in_memory.test_http import ask
from tests.in_memory.test_metrics import samples
from tests.integration.support import channel

LANE = "amqp:default"


async def until_ready(url, ready):
    """Wait until /ready says so, and give its words."""
    async with asyncio.timeout(60):
        while (answer := await ask(url, "/ready"))[0] != (200 if ready else 503):  # noqa: ASYNC110 (each look is a request)
            await asyncio.sleep(0.1)
    return answer[2]


async def test_a_dead_rabbitmq_is_seen_within_seconds_and_its_return_too(rabbitmq, fresh_name):
    profiles = {"amqp": {"default": {"connection": {"url": rabbitmq.url}, "routing_key": fresh_name}}}
    async with channel(rabbitmq.url) as opened:
        await opened.declare_queue(fresh_name, durable=True)
    async with running(profiles) as hub:
        url = await hub.evbus.http.start("0")
        await hub.evbus.broker.put("k", {"n": 1}, confirm="delivered")
        assert await until_ready(url, True) == "ready\n"
        found = samples((await ask(url, "/metrics"))[2])
        assert found("evbus_destination_publish_seconds_count", LANE) == 1
        assert 0 < found("evbus_destination_publish_seconds_sum", LANE) < 60
        assert found("evbus_destination_delivered_bytes_total", LANE) == len(b'{"n":1}')

        rabbitmq.kill()
        try:
            await hub.evbus.broker.put("k", {"n": 2})
            assert f"destination {LANE} is " in await until_ready(url, False)
            await eventually(lambda: hub.evbus.init.status()["destinations"][LANE]["oldest_age"] > 0)
            document = json.loads((await ask(url, "/status"))[2])
            assert document["processes"][0]["bus"]["destinations"][LANE]["waiting"] == 1
            found = samples((await ask(url, "/metrics"))[2])
            assert found("evbus_destination_state", LANE, "open") == 0
            assert found("evbus_destination_oldest_event_age_seconds", LANE) > 0
        finally:
            await asyncio.to_thread(rabbitmq.start)
        await until_ready(url, True)
        await eventually(lambda: hub.evbus.init.status()["destinations"][LANE]["delivered"] == 2)
