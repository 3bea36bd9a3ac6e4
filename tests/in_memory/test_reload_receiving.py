"""hub.evbus.init.reload: handlers, services and calls go on with the new options of their profiles."""

import asyncio
import logging
import sys
import textwrap

import pytest

from evbus_like.errors import DestinationRefused, ProfileError
from evbus_like.testing import new_hub, running
from tests.unit.fakes import HANG, until

OLD, NEW = {"queue_events": 1000}, {"queue_events": 2000}


def profiles(default, other=None):
    return {"internal": {"default": default, "other": other}}


APP = """
    import asyncio
    import evbus_like.handlers as evbus

    @evbus.handler("orders", "placed", max_workers=2)
    async def ship(hub, event):
        hub.BEGUN.append(event.body)
        await hub.GATE.wait()
        hub.HANDLED.append(event.body)
"""
SERVICE = "async def echo(hub, number):\n    return number\n"


class Receiving:
    """A bus with a handler, which waits for `gate`, and a service."""

    def __init__(self, hub):
        self.hub, self.begun, self.handled, self.gate = hub, [], [], asyncio.Event()
        hub.BEGUN, hub.HANDLED, hub.GATE = self.begun, self.handled, self.gate

    @property
    def consumer(self):
        (consumer,) = self.hub.evbus.RUNTIME.handlers.consumers
        return consumer


@pytest.fixture
async def receiving(package, monkeypatch):
    files = {"handler/shipping.py": textwrap.dedent(APP), "service/orders.py": SERVICE}
    monkeypatch.syspath_prepend(package(files))
    made = Receiving(new_hub())
    async with running(profiles(OLD), made.hub):
        await made.hub.evbus.rpc.start()
        await made.hub.evbus.handlers.start()
        await made.hub.evbus.handlers.join(HANG)
        await made.hub.evbus.rpc.join(HANG)
        yield made
        made.gate.set()
    for name in [name for name in sys.modules if name.startswith("their_app")]:
        del sys.modules[name]


async def test_a_handler_under_way_finishes_and_nothing_is_lost_or_handled_twice(receiving):
    hub, handled = receiving.hub, receiving.handled
    gate = receiving.gate
    for number in range(5):
        await hub.evbus.broker.dispatch("orders", "placed", number)
    await until(lambda: receiving.begun)

    reloading = asyncio.create_task(hub.evbus.init.reload(profiles(NEW)))
    await until(lambda: not receiving.consumer.subscribed.is_set())
    for number in range(5, 10):
        await hub.evbus.broker.dispatch("orders", "placed", number)
    gate.set()
    reloaded = await reloading

    assert reloaded.received == ("internal:default",)
    await until(lambda: len(handled) == 10)
    assert sorted(handled) == list(range(10))
    assert receiving.consumer.stats.lost == 0


async def test_what_a_reload_does_not_change_keeps_its_feed(receiving):
    source = receiving.consumer.source

    reloaded = await receiving.hub.evbus.init.reload(profiles(OLD, NEW))

    assert reloaded.received == ()
    assert receiving.consumer.source is source


async def test_a_wrong_profile_changes_nothing_for_handlers(receiving):
    source, contexts = receiving.consumer.source, receiving.hub.evbus.RUNTIME.contexts

    with pytest.raises(ProfileError, match="queue_events"):
        await receiving.hub.evbus.init.reload(profiles({"queue_events": "many"}))

    assert receiving.consumer.source is source
    assert receiving.hub.evbus.RUNTIME.contexts is contexts


async def test_handlers_of_a_profile_that_is_gone_go_on_and_the_log_says_so(receiving, caplog):
    await receiving.hub.evbus.init.reload({"internal": {"other": None}})

    assert "no profile internal:default exists any more; its handlers" in caplog.text
    assert receiving.consumer.subscribed.is_set()


async def test_an_open_feed_stays_when_the_new_options_cannot_connect(receiving, monkeypatch, caplog):
    async def refused(_source, _subscription):
        raise DestinationRefused("the login was refused")

    old = receiving.consumer.source
    monkeypatch.setattr("evbus_like.hub.profiles.source.PluginSource.inspect", refused)

    await receiving.hub.evbus.init.reload(profiles(NEW))

    assert receiving.consumer.source is old
    assert receiving.consumer.subscribed.is_set()
    assert "internal:default cannot be reached with its new options" in caplog.text
    receiving.gate.set()
    await receiving.hub.evbus.broker.dispatch("orders", "placed", 1)
    await until(lambda: receiving.handled == [1])


async def test_a_handler_that_takes_too_long_does_not_hold_the_reload_up(receiving, caplog):
    caplog.set_level(logging.WARNING)
    await receiving.hub.evbus.broker.dispatch("orders", "placed", 1)
    await until(lambda: receiving.begun)

    await receiving.hub.evbus.init.reload(profiles(NEW), timeout=0.05)

    assert "took longer than 0.05 s" in caplog.text
    receiving.gate.set()
    await until(lambda: receiving.handled.count(1) == 2)


async def test_calls_go_on_over_the_new_connection(receiving):
    hub = receiving.hub
    assert await hub.rpc.orders.echo(1) == 1
    clients = hub.evbus.RUNTIME.rpc_clients.clients

    reloaded, *answers = await asyncio.gather(
        hub.evbus.init.reload(profiles(NEW)), *(hub.rpc.orders.echo(number) for number in range(20))
    )

    assert reloaded.received == ("internal:default",)
    assert answers == list(range(20))
    assert [each.source.data for each in clients] == [NEW]
    assert await hub.rpc.orders.echo(2) == 2
