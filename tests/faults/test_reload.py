"""Credentials read again while events wait."""

import asyncio
import contextlib

import pytest

from evbus_like.testing import eventually, running
from tests.faults.sender import Sender
from tests.integration.support import DEADLINE, read


@contextlib.asynccontextmanager
async def user_of(broker, name, configure=""):
    """Create a user of RabbitMQ; gives a function that changes the password."""

    async def change(password):
        await asyncio.to_thread(broker.ctl, "change_password", name, password)

    await asyncio.to_thread(broker.ctl, "add_user", name, "the old one")
    try:
        await asyncio.to_thread(broker.ctl, "set_permissions", name, configure, ".*", ".*" if configure else "")
        yield change
    finally:
        await asyncio.to_thread(broker.ctl, "delete_user", name)


@pytest.mark.fault(34)
@pytest.mark.parametrize("outbox", ["never", "always"])
async def test_after_a_reload_with_the_new_password_the_waiting_events_are_delivered(
    rabbit_site, fresh_name, stream_through, tmp_path, monkeypatch, caplog, outbox
):
    monkeypatch.setenv("EVBUS_OUTBOX", str(tmp_path / "outbox.sqlite"))
    slow = {"first": 0.05, "refused_cap": 3600.0}
    login = {"login": fresh_name, "password": "the old one"}

    async with user_of(rabbit_site.broker, fresh_name) as change_password:

        async def fault(hub):
            # Given events that wait because the password was changed at the broker
            await change_password("the new one")
            rabbit_site.proxy.reset()
            assert fresh_name in await rabbit_site.until(hub, "refused")
            await eventually(lambda: rabbit_site.status(hub)["waiting"] > 100)
            # When the bus gets the new one, it continues at once; `stream_through` checks that all arrives in order
            new = rabbit_site.profile(connection={**login, "password": "the new one"}, outbox=outbox, retry=slow)
            reloaded = await hub.evbus.init.reload({"amqp": {"default": new}})
            assert reloaded.changed == ("amqp:default",)

        await stream_through(rabbit_site, fault, connection=login, outbox=outbox, retry=slow)
    assert "the old one" not in caplog.text
    assert "the new one" not in caplog.text


@pytest.mark.fault(34)
async def test_a_reload_while_events_flow_repeats_none_of_them(rabbit_site, stream_through):
    async def fault(hub):
        for number in range(5):
            changed = rabbit_site.profile(app_id=f"number {number}")
            assert (await hub.evbus.init.reload({"amqp": {"default": changed}})).changed
            await rabbit_site.flows(hub)

    await stream_through(rabbit_site, fault, at_most=0)


@pytest.mark.fault(34)
async def test_profiles_are_changed_added_and_removed_while_the_broker_is_unreachable(site, report_costs):
    # Given events that wait for an unreachable broker
    sender = Sender()
    async with running({site.provider: {"default": site.profile(), "gone": site.profile()}}) as hub:
        await sender.put(hub, confirm="delivered")
        site.proxy.refuse()
        for _ in range(50):
            await sender.put(hub)
        await hub.evbus.broker.put("gone", {"key": "gone", "number": 0}, "gone")
        # When the profiles are reloaded
        contexts = {site.provider: {"default": site.profile(timeout=3.0), "new": site.profile()}}
        reloaded = await hub.evbus.init.reload(contexts, timeout=0.5)
        for _ in range(50):
            await sender.put(hub)
        # Then the events of the changed profile arrive once the broker is back; those of the removed one are counted
        lane = f"{site.provider}:"
        assert (reloaded.changed, reloaded.added) == ((f"{lane}default",), (f"{lane}new",))
        assert reloaded.removed == (f"{lane}gone",)
        site.proxy.heal()
        account = await hub.evbus.init.stop(DEADLINE)
    lanes = {each.destination: each for each in account.lanes}
    gone = lanes[f"{lane}gone"]
    assert (gone.accepted, gone.dropped, gone.drops) == (1, 1, {"removed": 1})
    account.lanes = [lanes[f"{lane}default"]]
    costs = sender.check(account, await site.arrived())
    report_costs(costs)
    assert (costs.put, costs.missing) == (101, 0)


@pytest.mark.fault(34)
async def test_after_a_reload_with_the_new_scram_password_the_waiting_events_are_delivered(kafka, fresh_name, caplog):
    def profiles(password):
        login = {"sasl_mechanism": "SCRAM-SHA-256", "sasl_plain_username": kafka.sasl_user}
        address = {"bootstrap_servers": kafka.sasl_bootstrap, "security_protocol": "SASL_SSL"}
        connection = {**address, **login, "sasl_plain_password": password}
        ssl = {"ca_file": str(kafka.needs_tls().ca)}
        return {"kafka": {"default": {"connection": connection, "ssl": ssl, "retry": {"refused_cap": 3600.0}}}}

    async with running(profiles("not-this-one")) as hub:
        for number in range(100):
            await hub.evbus.broker.put(fresh_name, number, key="one partition")
        await eventually(lambda: hub.evbus.init.status()["destinations"]["kafka:default"]["state"] == "refused")

        await hub.evbus.init.reload(profiles(kafka.sasl_password))

        await eventually(lambda: hub.evbus.init.account().delivered == 100)
        account = await hub.evbus.init.stop(DEADLINE)
    assert account.complete
    assert [int(record.value) for record in await read(kafka.bootstrap, fresh_name, 100)] == list(range(100))
    assert kafka.sasl_password not in caplog.text


def application(app, source):
    """An application with a handler of the events of `source`, and a service."""
    return app(
        "async def echo(hub, param):\n    return param\n",
        handler__shipping=f"""
            @evbus.handler({source!r}, "placed", name={source!r})
            async def ship(hub, event):
                await asyncio.sleep(0.001)
                hub.SEEN.append(event.body)
        """,
    )


@pytest.mark.fault(34)
async def test_after_a_reload_with_the_new_password_handlers_that_were_refused_receive(
    rabbit_site, fresh_name, app, caplog
):
    broker, proxy = rabbit_site.broker, rabbit_site.proxy
    hub = application(app, fresh_name)

    def profiles(password):
        options = rabbit_site.profile({"login": fresh_name, "password": password}, rpc_exchange=f"{fresh_name}-rpc")
        return {"amqp": {"default": {**options, "exchange": f"{fresh_name}.events"}}}

    def consumers():
        return [*hub.evbus.RUNTIME.handlers.consumers, *hub.evbus.RUNTIME.services.consumers]

    async with user_of(broker, fresh_name, ".*") as change_password, running(profiles("the old one"), hub):
        await hub.evbus.rpc.start()
        await hub.evbus.handlers.start()
        await hub.evbus.rpc.join(DEADLINE)
        await hub.evbus.handlers.join(DEADLINE)
        await hub.evbus.broker.dispatch(fresh_name, "placed", 0, confirm="delivered")
        assert await hub.rpc.world.echo(1) == 1
        # Given a password that was changed at the broker, and a file that has a wrong one: the connections stay
        await change_password("the new one")
        await hub.evbus.init.reload(profiles("a wrong one"))
        assert all(each.subscribed.is_set() for each in consumers())
        # Given handlers and a service that are refused
        proxy.reset()
        await eventually(lambda: all(each.stats.state == "refused" for each in consumers()))
        puts = [asyncio.create_task(hub.evbus.broker.dispatch(fresh_name, "placed", each)) for each in range(1, 100)]
        # When the bus gets the new one, they go on, and so do calls
        await hub.evbus.init.reload(profiles("the new one"))
        await asyncio.gather(*puts)
        assert await hub.rpc.world.echo(2) == 2
        await eventually(lambda: len(hub.SEEN) >= 100)
    assert sorted(hub.SEEN) == list(range(100))
    assert not [each for each in ("the old one", "a wrong one", "the new one") if each in caplog.text]


@pytest.mark.fault(34)
@pytest.mark.parametrize("provider", ["amqp", "kafka"])
async def test_a_reload_while_events_are_handled_loses_none_and_repeats_none(
    rabbitmq, kafka, fresh_name, app, provider
):
    hub = application(app, fresh_name)
    address = {"url": rabbitmq.url} if provider == "amqp" else {"bootstrap_servers": kafka.bootstrap}
    count = 600

    def profiles(number):
        return {provider: {"default": {"connection": address, "timeout": 20.0 + number}}}

    async with running(profiles(0), hub):
        await hub.evbus.handlers.start()
        await hub.evbus.handlers.join(DEADLINE)
        for number in range(count):
            await hub.evbus.broker.dispatch(fresh_name, "placed", number, key=str(number % 7))
        for number in range(1, 4):
            seen = len(hub.SEEN)
            reloaded = await hub.evbus.init.reload(profiles(number))
            assert reloaded.received == (f"{provider}:default",)
            await eventually(lambda seen=seen: len(hub.SEEN) > seen + 20 or len(hub.SEEN) >= count)
        await eventually(lambda: len(hub.SEEN) >= count)
    assert sorted(hub.SEEN) == list(range(count))
