"""RabbitMQ refuses: the events wait, the error says what to do, and they arrive once the cause is removed."""

import aio_pika
import pytest

from evbus_like.testing import running
from tests.integration.support import QUICK, channel, queue, take, trouble_with, until


@pytest.fixture
def user(rabbitmq, fresh_name):
    """A user of RabbitMQ without permissions on exchanges."""
    rabbitmq.ctl("add_user", fresh_name, "the-right-one")
    rabbitmq.ctl("set_permissions", fresh_name, "", "", "")
    yield fresh_name
    rabbitmq.ctl("delete_user", fresh_name)


def profile(rabbitmq, login="guest", password="guest", **options):
    connection = {"host": rabbitmq.host, "port": rabbitmq.port, "login": login, "password": password}
    return {"amqp": {"default": {"connection": connection, "retry": QUICK, **options}}}


async def test_the_error_for_a_wrong_password_names_user_and_address_but_not_the_password(rabbitmq, caplog):
    trouble = await trouble_with(profile(rabbitmq, password="not-this-one"), "refused")
    assert "'guest'" in trouble
    assert f"{rabbitmq.host}:{rabbitmq.port}" in trouble
    assert "password" in trouble
    assert "not-this-one" not in caplog.text + trouble


async def test_a_wrong_password_in_a_url_is_never_shown(rabbitmq, caplog):
    url = f"amqp://guest:not%2Fthis%40one@{rabbitmq.host}:{rabbitmq.port}/"
    trouble = await trouble_with({"amqp": {"default": {"connection": {"url": url}}}}, "refused")
    for form in ("not%2Fthis%40one", "not/this@one"):
        assert form not in caplog.text + trouble


async def test_the_error_for_a_missing_virtual_host_names_it(rabbitmq):
    profiles = profile(rabbitmq)
    profiles["amqp"]["default"]["connection"]["virtualhost"] = "no-such-place"
    assert "no-such-place" in await trouble_with(profiles, "refused")


async def test_events_that_wait_for_the_right_password_arrive_once_it_is_set(rabbitmq, user, fresh_name):
    rabbitmq.ctl("set_permissions", user, "", ".*", "")
    async with queue(rabbitmq.url, fresh_name) as made, running(profile(rabbitmq, user, "the-new-one")) as hub:
        for number in range(10):
            await hub.evbus.broker.put(fresh_name, number)
        await until(hub, "amqp:default", "refused")
        rabbitmq.ctl("change_password", user, "the-new-one")
        await until(hub, "amqp:default", "open")
        account = await hub.evbus.init.stop()
        assert [int(message.body) for message in await take(made, 10)] == list(range(10))
    assert account.complete


async def test_events_that_wait_for_a_permission_arrive_once_it_is_granted(rabbitmq, user, fresh_name):
    async with queue(rabbitmq.url, fresh_name) as made, running(profile(rabbitmq, user, "the-right-one")) as hub:
        await hub.evbus.broker.put(fresh_name, 1)
        trouble = await until(hub, "amqp:default", "refused")
        assert "ACCESS_REFUSED" in trouble
        assert "right" in trouble
        rabbitmq.ctl("set_permissions", user, "", ".*", "")
        await until(hub, "amqp:default", "open")
        assert (await hub.evbus.init.stop()).complete
        assert len(await take(made, 1)) == 1


async def test_events_for_a_missing_exchange_wait_and_arrive_once_it_exists(rabbitmq, fresh_name):
    async with running(profile(rabbitmq, exchange=fresh_name)) as hub:
        await hub.evbus.broker.put("key", "held")
        trouble = await until(hub, "amqp:default", "refused")
        assert fresh_name in trouble
        assert "declare" in trouble
        async with channel(rabbitmq.url) as opened:
            made = await opened.declare_queue(fresh_name, durable=True)
            exchange = await opened.declare_exchange(f"{fresh_name}-x", aio_pika.ExchangeType.FANOUT)
            await made.bind(exchange)
            # The queue is bound before the exchange of the profile exists, so that the first event is routed to it.
            real = await opened.declare_exchange(
                fresh_name, aio_pika.ExchangeType.FANOUT, arguments={"alternate-exchange": f"{fresh_name}-x"}
            )
            assert [message.body for message in await take(made, 1)] == [b'"held"']
            for thing in (real, exchange, made):
                await thing.delete()


async def test_the_error_for_an_exchange_that_exists_with_another_type_names_it(rabbitmq, fresh_name):
    async with channel(rabbitmq.url) as opened:
        exchange = await opened.declare_exchange(fresh_name, aio_pika.ExchangeType.FANOUT)
        trouble = await trouble_with(profile(rabbitmq, exchange=fresh_name, declare={"type": "topic"}), "refused")
        await exchange.delete()
    assert fresh_name in trouble
    assert "declare" in trouble


async def test_a_refused_profile_does_not_stop_another_profile_of_the_same_broker(rabbitmq, fresh_name):
    profiles = profile(rabbitmq)
    profiles["amqp"]["def*"] = profile(rabbitmq, exchange=fresh_name)["amqp"]["default"]
    async with queue(rabbitmq.url, fresh_name) as made, running(profiles) as hub:
        await hub.evbus.broker.put(fresh_name, "both")
        await until(hub, "amqp:def*", "refused")
        assert len(await take(made, 1)) == 1
        account = await hub.evbus.init.stop(5.0)
    assert (account.delivered, account.remaining) == (1, 1)
