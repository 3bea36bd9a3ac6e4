"""An application's start and stop: in the loop of the bus, before the first event and after the last."""

import asyncio
import threading

import pytest

from evbus_like.engine.errors import HandlerError, LifecycleError
from evbus_like.testing import eventually, handling, new_hub, running

HANDLER = """
import evbus_like.handlers as evbus


@evbus.handler("orders", "placed")
async def ship(hub, event):
    hub.SEEN.append(("handled", event.body, hub.POOL))
"""
POOL = """
import asyncio


async def start(hub):
    hub.SEEN.append(("start", asyncio.get_running_loop()))
    hub.POOL = "open"


async def stop(hub):
    hub.SEEN.append(("stop", asyncio.get_running_loop()))
    hub.POOL = "closed"
    await hub.evbus.broker.put(routing_key="bye", body=1)
"""
SIMPLE = """
async def start(hub):
    hub.SEEN.append("start {0}")
    {1}


async def stop(hub):
    hub.SEEN.append("stop {0}")
    {2}
"""


def simple(name, at_start="pass", at_stop="pass"):
    return "import asyncio\n" + SIMPLE.format(name, at_start, at_stop)


async def test_the_start_comes_before_the_first_event_and_the_stop_after_the_last(app):
    hub = app(handler__shipping=HANDLER, lifespan__pool=POOL)
    await hub.evbus.broker.dispatch("orders", "placed", 1)
    async with running(hub=hub):
        await hub.evbus.handlers.start()
        await hub.evbus.handlers.join()
        await hub.evbus.broker.dispatch("orders", "placed", 2)
        await eventually(lambda: len(hub.SEEN) == 2)
        for number in range(3, 6):
            await hub.evbus.broker.dispatch("orders", "placed", number)
    loop = asyncio.get_running_loop()
    names = [each[0] for each in hub.SEEN]
    assert (names[0], names[-1], names.count("stop")) == ("start", "stop", 1)
    assert {each[1] for each in (hub.SEEN[0], hub.SEEN[-1])} == {loop}
    assert {each[2] for each in hub.SEEN[1:-1]} == {"open"}
    assert hub.evbus.init.account().complete  # the last put, too
    assert await (await hub.ingress.internal.get("bye")).get() == b"1"


async def test_they_run_in_the_order_of_their_names_and_stop_in_the_opposite_one(app):
    hub = app(lifespan__b=simple("b"), lifespan__a=simple("a"), lifespan__c="async def stop(hub): hub.SEEN.append('c')")
    for _ in range(2):
        async with running(hub=hub):
            pass
    assert hub.SEEN == ["start a", "start b", "c", "stop b", "stop a"] * 2


async def test_a_start_that_fails_names_itself_and_stops_what_had_started(app):
    hub = app(lifespan__a=simple("a"), lifespan__b=simple("b", "raise OSError('no database')"), lifespan__c=simple("c"))
    with pytest.raises(LifecycleError, match=r"^lifespan\.b\.start failed: OSError: no database$"):
        async with running(hub=hub):
            pass
    assert hub.SEEN == ["start a", "start b", "stop a"]
    assert not hub.evbus.STARTED


@pytest.mark.parametrize("how", ["await asyncio.sleep(99)", "await stubborn()"])
async def test_a_start_that_hangs_has_a_deadline(app, how, monkeypatch):
    stubborn = """
async def stubborn():
    for _ in range(99):
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            pass
"""
    hub = app(lifespan__a=simple("a", how) + stubborn)
    hub.OPT = {"evbus_like": {"lifespan_timeout": 0.1}}
    with pytest.raises(LifecycleError, match=r"lifespan\.a\.start did not end within the 0\.1 s that it had") as raised:
        async with running(hub=hub):
            pass
    assert ("abandoned" in str(raised.value)) == ("stubborn" in how)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        for _ in range(100):
            task.cancel()
            await asyncio.sleep(0)


async def test_a_stop_that_fails_or_hangs_is_logged_and_the_others_stop(app, caplog):
    wrong = simple("b", at_stop="raise OSError('gone')")
    hub = app(lifespan__a=simple("a"), lifespan__b=wrong, lifespan__c=simple("c", at_stop="await asyncio.sleep(99)"))
    hub.OPT = {"evbus_like": {"lifespan_timeout": 3.0}}
    async with running(hub=hub):
        pass
    assert "lifespan.c.stop did not end within the" in caplog.text
    assert "lifespan.b.stop failed: OSError: gone" in caplog.text
    assert "lifespan.a.stop" not in caplog.text
    assert hub.SEEN[-3:] == ["stop c", "stop b", "stop a"]


async def test_the_stop_runs_once_and_in_the_loop_of_the_bus_if_another_thread_asks_for_it(app):
    hub = app(lifespan__pool=POOL)
    async with running(hub=hub):
        stopped = threading.Thread(target=lambda: asyncio.run(hub.evbus.init.stop(10)))
        stopped.start()
        await asyncio.to_thread(stopped.join)
    loop = asyncio.get_running_loop()
    assert len(hub.SEEN) == 2
    assert dict(hub.SEEN) == {"start": loop, "stop": loop}


async def test_a_bus_that_is_cancelled_stops_the_application_too(app):
    hub = app(lifespan__a=simple("a"))
    listener = asyncio.create_task(hub.evbus.init.start({"internal": {"default": None}}))
    await hub.evbus.init.join()
    listener.cancel()
    await asyncio.wait([listener])
    assert hub.SEEN == ["start a", "stop a"]


async def test_mistakes_are_named_at_the_start_all_at_once(app):
    hub = app(
        lifespan__empty="async def begin(hub): pass",
        lifespan__plain="def start(hub): pass",
        lifespan__many="async def stop(hub, timeout): pass",
        lifespan__broken="import no_such_library",
    )
    with pytest.raises(HandlerError) as raised:
        async with running(hub=hub):
            pass
    text = str(raised.value)
    assert "'empty' has none of start(hub), ready(hub) and stop(hub)" in text
    assert "lifespan.plain.start must be `async def`" in text
    assert "lifespan.many.stop has the parameters (hub, timeout); it must be stop(hub)" in text
    assert "'broken' could not be loaded: ModuleNotFoundError" in text


async def test_an_application_without_them_starts_as_ever():
    async with running(hub=new_hub()) as hub:
        assert hub.evbus.STARTED


READY = """
async def start(hub):
    hub.SEEN.append("start")


async def ready(hub):
    hub.SEEN.append("ready")
    await hub.evbus.broker.dispatch("orders", "placed", "from ready")
"""
NOTING = """
import evbus_like.handlers as evbus


@evbus.handler("orders", "placed")
async def ship(hub, event):
    hub.SEEN.append(event.body)
"""


async def test_ready_runs_once_when_handlers_receive_and_they_get_what_it_puts(app):
    hub = app(handler__shipping=NOTING, lifespan__hello=READY)
    async with running(hub=hub):
        assert hub.SEEN == ["start"]
        await hub.evbus.handlers.start()
        for _ in range(2):
            await hub.evbus.handlers.join(30)
        await eventually(lambda: len(hub.SEEN) == 3)
    assert hub.SEEN == ["start", "ready", "from ready"]


async def test_ready_runs_in_tests_of_handlers(app):
    async with handling(app(handler__shipping=NOTING, lifespan__hello=READY)) as bus:
        await bus.handled("shipping.ship")
        assert bus.hub.SEEN == ["start", "ready", "from ready"]


async def test_a_ready_that_fails_names_itself(app):
    hub = app(handler__shipping=NOTING, lifespan__a="async def ready(hub): raise OSError('no queue')")
    async with running(hub=hub):
        await hub.evbus.handlers.start()
        with pytest.raises(LifecycleError, match=r"^lifespan\.a\.ready failed: OSError: no queue$"):
            await hub.evbus.handlers.join(30)
