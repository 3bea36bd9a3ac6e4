"""Events that are put for later, on the hub and on each backend."""

import asyncio
import time

import pytest

from evbus_like.errors import LifecycleError
from evbus_like.testing import eventually, running
from tests.integration.sources import handler, on_hub
from tests.integration.support import create_topic


@pytest.fixture(params=["amqp", "kafka", "internal"])
async def profiles(request, fresh_name):
    """The contexts of a profile on each backend, whose events are read by handlers of the service `fresh_name`."""
    if request.param == "internal":
        return {"internal": {"default": None}}
    broker = request.getfixturevalue({"amqp": "rabbitmq"}.get(request.param, request.param))
    if request.param == "amqp":
        return {"amqp": {"default": {"connection": {"url": broker.url}}}}
    await create_topic(broker.bootstrap, f"{fresh_name}.events")
    return {"kafka": {"default": {"connection": {"bootstrap_servers": broker.bootstrap}}}}


async def test_an_event_that_was_put_for_later_is_handled_after_that_time(profiles, fresh_name, tmp_path, monkeypatch):
    monkeypatch.setenv("EVBUS_OUTBOX", str(tmp_path / "outbox.sqlite"))
    handled = {}

    async def take(event):
        handled[event.body] = time.time()

    async with running(profiles) as hub, on_hub(hub, profiles, handler(take, fresh_name)):
        dispatch = hub.evbus.broker.dispatch
        cancelled = await dispatch(fresh_name, "created", "cancelled", delay=3)
        assert await hub.evbus.broker.cancel(cancelled.schedule_id) is True
        assert await hub.evbus.broker.cancel(cancelled.schedule_id) is False
        receipts = [await dispatch(fresh_name, "created", number, delay=0.5 + number / 10) for number in range(3)]
        assert hub.evbus.init.status()["outbox"]["scheduled"] + len(handled) >= 3
        await dispatch(fresh_name, "created", "now")
        await eventually(lambda: len(handled) == 4, timeout=30)
        await asyncio.sleep(max(0.0, cancelled.due - time.time()) + 0.1)
    assert handled.keys() == {"now", 0, 1, 2}
    assert all(handled[number] >= receipt.due for number, receipt in enumerate(receipts))


async def test_without_an_outbox_put_says_what_to_do():
    async with running({"internal": {"default": None}}) as hub:
        with pytest.raises(LifecycleError, match="needs an outbox"):
            await hub.evbus.broker.put("k", 1, delay=1)
