"""hub/reporter.py: the log and the error callback hear of events that did not get through, and feed nothing."""

import asyncio
import threading

import pytest

from evbus_like.engine.errors import PoisonEvent, SerializeError, TransientError
from evbus_like.hub import reporter as reporter_module
from tests.unit.fakes import HANG, until


def install(hub, function):
    """Put a function on the hub where error_callback_ref can name it."""
    hub.my_errors = function
    return "my_errors"


def put_bad(hub, count=1):
    for _ in range(count):
        hub.evbus.broker.put_nowait(routing_key="k", body={"bad": object()})


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_the_callback_gets_the_exception_and_what_it_needs_to_act(hub, start, kind):
    calls = []

    async def later(data):
        calls.append(data)

    ref = install(hub, calls.append if kind == "sync" else later)
    await start(error_callback_ref=ref)
    put_bad(hub)
    await until(lambda: calls)

    (data,) = calls
    assert sorted(data) == ["body", "context", "exception", "plugin", "profile"]
    assert isinstance(data["exception"], SerializeError)
    assert (data["profile"], data["context"]["routing_key"], data["context"]["final"]) == ("default", "k", True)
    assert list(data["body"]) == ["bad"]


async def test_a_callback_of_a_dead_letter_names_plugin_destination_and_pattern(hub, start):
    calls = []
    ref = install(hub, calls.append)
    await start({"internal": {"def*": None}}, error_callback_ref=ref)
    destination = hub.evbus.RUNTIME.bus.lanes[0].destination

    async def publish(events):
        raise PoisonEvent("never")

    destination.publish, destination.publish_now = publish, lambda events: 0
    await hub.evbus.broker.put(routing_key="k", body=1)
    await until(lambda: calls)

    assert calls[0]["plugin"] == "internal"
    assert {k: calls[0]["context"][k] for k in ("destination", "pattern", "attempts")} == {
        "destination": "internal:def*", "pattern": "def*", "attempts": 1,
    }  # fmt: skip


async def test_a_sync_callback_does_not_block_the_bus(hub, start):
    gate, calls = threading.Event(), []

    def slow(data):
        gate.wait(HANG)
        calls.append(data)

    await start(error_callback_ref=install(hub, slow))
    put_bad(hub)
    await hub.evbus.broker.put(body=1, confirm="delivered")
    assert calls == []
    gate.set()
    await until(lambda: calls)


async def cancelled_inside(data):
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


def raising(data):
    raise RuntimeError("callback broke")


async def raising_later(data):
    raise RuntimeError("callback broke")


def exiting(data):
    raise SystemExit(3)


def closing(data):
    raise GeneratorExit


@pytest.mark.parametrize(
    "callback", [raising, raising_later, cancelled_inside, exiting, closing], ids=lambda f: f.__name__
)
async def test_a_callback_that_fails_is_logged_and_is_called_for_the_next_failure(hub, start, caplog, callback):
    calls = []

    async def first_fails(data):
        calls.append(data)
        result = callback(data)
        if result is not None:
            await result

    await start(error_callback_ref=install(hub, first_fails))
    put_bad(hub, 3)
    await hub.evbus.broker.put(body=1, confirm="delivered")
    await until(lambda: len(calls) == 3)

    assert "error callback my_errors failed" in caplog.text


async def test_a_callback_that_does_not_exist_is_named_and_the_bus_keeps_running(hub, start, caplog):
    await start(error_callback_ref="nowhere.to.be.found")
    assert "error_callback_ref: there is no function nowhere.to.be.found on the hub" in caplog.text
    put_bad(hub)

    await hub.evbus.broker.put(body=1, confirm="delivered")
    await until(lambda: "there is no such function on the hub" in caplog.text)

    assert "nowhere.to.be.found" in caplog.text


@pytest.mark.parametrize("way", ["put_nowait", "put", "asyncio.run in the thread"])
async def test_a_callback_that_puts_to_the_failing_destination_causes_no_loop(hub, start, way):
    calls = []

    def sync(data):
        calls.append(data)
        if way == "put_nowait":
            hub.evbus.broker.put_nowait(body=object())
        else:
            asyncio.run(hub.evbus.broker.put(body=object()))

    async def later(data):
        calls.append(data)
        await hub.evbus.broker.put(body=object())

    await start(error_callback_ref=install(hub, later if way == "put" else sync))
    put_bad(hub, 2)
    await until(lambda: len(calls) >= 2)
    await asyncio.sleep(0.05)
    account = await hub.evbus.init.stop(HANG)

    assert len(calls) == 2
    assert account.rejected == 4


async def test_a_callback_may_put_to_a_destination_that_works(hub, start):
    def tell(data):
        hub.evbus.broker.put_nowait(routing_key="errors", body={"profile": data["profile"]})

    await start(error_callback_ref=install(hub, tell))
    put_bad(hub)

    queue = await hub.ingress.internal.get("errors")
    assert await asyncio.wait_for(queue.get(), HANG) == b'{"profile":"default"}'


async def test_many_failures_of_one_kind_are_not_all_logged(hub, start, caplog):
    await start()
    put_bad(hub, 500)
    await hub.evbus.init.stop(HANG)

    lines = [line for line in caplog.messages if line.startswith("Event failed to propagate")]
    assert len(lines) == reporter_module.LOGGED_EACH
    assert hub.evbus.init.account().rejected == 500


async def test_failures_that_wait_for_a_slow_callback_are_bounded_and_the_missed_are_counted(
    hub, start, monkeypatch, caplog
):
    monkeypatch.setattr(reporter_module, "MAX_WAITING", 5)
    gate = asyncio.Event()

    async def slow(data):
        await gate.wait()

    task = await start(error_callback_ref=install(hub, slow))
    put_bad(hub, 50)
    await until(lambda: hub.evbus.init.account().rejected == 50)
    gate.set()
    await hub.evbus.init.stop(HANG)
    await asyncio.wait([task], timeout=HANG)

    assert hub.evbus.RUNTIME.reporter.missed >= 44
    assert "it missed" in caplog.text


async def test_a_callback_that_puts_an_event_after_the_stop_is_no_error(hub, start, caplog, monkeypatch):
    # Given a destination that is down, and a callback that puts what failed, as idem's does
    calls = []

    async def put_again(data):
        calls.append(data)
        await hub.evbus.broker.put(body={"failed": data["profile"]})

    await start(error_callback_ref=install(hub, put_again), stop_grace=0.01)
    destination = hub.evbus.RUNTIME.bus.lanes[0].destination

    async def publish(events):
        raise TransientError("down")

    destination.publish, destination.publish_now = publish, lambda events: 0
    for number in range(20):
        await hub.evbus.broker.put(body=number)
    # When the bus is stopped
    await hub.evbus.init.stop(HANG)
    await until(lambda: len(calls) == 20)
    # Then the events are reported as lost, and the callback's as nothing
    assert "Event failed to propagate" in caplog.text
    assert "error callback" not in caplog.text
