"""hub/log_handler.py and log/queue.py: log records as events, and no line that leads to another."""

import json
import logging
import logging.handlers

import pytest

from evbus_like.hub.log_handler import BusHandler
from tests.unit.fakes import until


@pytest.fixture
def logger(hub):
    made = logging.getLogger("my_app.part")
    handler = BusHandler(hub)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    made.setLevel(logging.INFO)
    made.handler = handler
    yield made
    root.removeHandler(handler)


async def test_a_record_becomes_an_event_of_the_profile_logger(hub, start, logger):
    await start({"internal": {"logger": {"routing_key": "log"}}})
    logger.warning("disk %s is full", "sda")
    queue = await hub.ingress.internal.get("log")
    await until(queue.qsize)

    body = json.loads(queue.get_nowait())
    assert sorted(body) == ["level", "message", "module", "timestamp"]
    assert (body["message"], body["module"], body["level"]) == ("disk sda is full", "test_log_handler", "WARNING")
    assert body["timestamp"].startswith("20")


@pytest.mark.parametrize("name", ["evbus_like.lane", "aio_pika.connection", "aiormq", "aiokafka.producer", "asyncio"])
def test_log_records_of_the_bus_and_its_libraries_become_no_events(hub, logger, name):
    logging.getLogger(name).error("about a failing destination")

    assert hub.evbus.BUS.empty()


async def test_a_destination_that_cannot_deliver_log_records_causes_no_further_records(hub, start, logger):
    calls = []

    def callback(data):
        calls.append(data)
        logger.error("could not deliver")

    hub.my_errors = callback
    await start({"internal": {"logger": {"max_event_bytes": 1}}}, error_callback_ref="my_errors")
    logger.error("first")
    await until(lambda: hub.evbus.init.account().rejected)
    account = await hub.evbus.init.stop(5)

    assert (account.put, account.rejected) == (1, 1)
    assert calls == []


def test_records_that_a_full_bus_cannot_hold_are_dropped_and_counted(hub, logger):
    hub.evbus.BUS.maxsize = 2

    for _ in range(5):
        logger.warning("x")

    assert (hub.evbus.BUS.qsize(), logger.handler.dropped) == (2, 3)


def test_a_record_that_cannot_be_formatted_raises_nothing(hub, logger, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)

    logger.handler.handle(logging.LogRecord("a", 20, "f", 1, "%d", ("x",), None))

    assert hub.evbus.BUS.empty()


async def test_the_wrapper_of_pop_evbus_is_a_queue_for_records(hub, start):
    # Given a handler as applications of pop-evbus make it
    hub.pop.sub.add(dyne_name="log")
    handler = logging.handlers.QueueHandler(hub.log.queue.wrapper(profile="audit"))
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    await start({"internal": {"audit": {"routing_key": "log"}}})
    # When it handles a record
    handler.handle(logging.makeLogRecord({"name": "shop", "msg": "disk sda is full", "levelname": "ERROR"}))
    queue = await hub.ingress.internal.get("log")
    await until(queue.qsize)
    # Then its message is an event
    body = json.loads(queue.get_nowait())
    assert "disk sda is full" in body["message"]
    assert body["level"] == "ERROR"
