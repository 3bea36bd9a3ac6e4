"""Events of services on real brokers: nameko's exchanges on RabbitMQ, topics of the same names on Kafka."""

import pytest

from evbus_like.errors import NotDelivered, PoisonEvent
from evbus_like.testing import running
from tests.integration.support import QUICK, channel, queue, read, take, until

BOTH_WAYS = pytest.mark.parametrize("batched", [True, False], ids=["batched", "one by one"])
CHAIN = ["shop.sell.1", "users.create.2"]


def profile(rabbitmq, **options):
    return {"amqp": {"default": {"connection": {"url": rabbitmq.url}, **options}}}


async def delete(rabbitmq, *exchanges):
    async with channel(rabbitmq.url) as opened:
        for name in exchanges:
            await opened.exchange_delete(name)


@pytest.fixture
async def service(rabbitmq, fresh_name):
    """A new service name; its exchange is deleted at the end."""
    yield fresh_name
    await delete(rabbitmq, f"{fresh_name}.events")


async def test_a_dispatched_event_has_everything_that_a_nameko_consumer_needs(rabbitmq, service):
    # Given a queue that is bound as nameko's handlers bind theirs
    async with channel(rabbitmq.url) as opened:
        await opened.declare_exchange(f"{service}.events", "topic", durable=True)
    async with (
        queue(rabbitmq.url, f"evt-{service}-created", f"{service}.events", routing_key="created") as made,
        running(profile(rabbitmq)) as hub,
    ):
        # When an event of the service is dispatched
        receipt = await hub.evbus.broker.dispatch(
            service, "created", {"id": 7}, headers={"nameko.call_id_stack": CHAIN}, confirm="delivered"
        )
        (message,) = await take(made, 1)
    # Then it has everything that kombu and nameko need; they read a missing content encoding as UTF-8
    assert (message.exchange, message.routing_key) == (f"{service}.events", "created")
    assert (message.content_type, message.delivery_mode) == ("application/json", 2)
    assert message.headers == {"nameko.call_id_stack": CHAIN, "evbus-service": service}
    assert message.body == b'{"id":7}'
    assert message.message_id == receipt.id


@BOTH_WAYS
async def test_the_durable_exchange_of_a_service_is_declared_before_its_first_event(
    rabbitmq, service, fresh_name, batched
):
    async with queue(rabbitmq.url, fresh_name) as neighbour, running(profile(rabbitmq, batched=batched)) as hub:
        await hub.evbus.broker.dispatch(service, "nobody.listens", 0, confirm="delivered")
        async with queue(rabbitmq.url, f"q-{service}", f"{service}.events", routing_key="created.#") as made:
            for number in range(20):
                hub.evbus.broker.dispatch_nowait(service, "created.now", number)
                hub.evbus.broker.put_nowait(fresh_name, number)
            account = await hub.evbus.init.stop()
            bodies = [int(message.body) for message in await take(made, 20)]
            beside = [int(message.body) for message in await take(neighbour, 20)]
    assert bodies == beside == list(range(20))
    assert account.delivered == 41
    async with channel(rabbitmq.url) as opened:
        await opened.declare_exchange(f"{service}.events", "topic", durable=True)  # refused if it differs


@BOTH_WAYS
async def test_only_the_events_for_a_missing_exchange_that_may_not_be_declared_are_dead_lettered(
    rabbitmq, service, fresh_name, batched
):
    profiles = profile(rabbitmq, declare_events=False, batched=batched)
    async with queue(rabbitmq.url, fresh_name) as neighbour, running(profiles) as hub:
        for number in range(10):
            await hub.evbus.broker.put(fresh_name, number)
            hub.evbus.broker.dispatch_nowait(service, "created", number)
        account = await hub.evbus.init.stop()
        assert [int(message.body) for message in await take(neighbour, 10)] == list(range(10))
    assert (account.delivered, account.dead_lettered, account.remaining) == (10, 10, 0)


async def test_the_error_says_which_exchange_is_missing_and_what_to_do(rabbitmq, service):
    async with running(profile(rabbitmq, declare_events=False)) as hub:
        receipt = await fails(hub, service)
    (error,) = receipt.outcomes.values()
    assert isinstance(error, PoisonEvent)
    assert f"no exchange '{service}.events'" in str(error)
    assert "create the exchange" in str(error)


async def fails(hub, service):
    with pytest.raises(NotDelivered) as caught:
        await hub.evbus.broker.dispatch(service, "created", 1, confirm="delivered")
    return caught.value.receipt


async def test_an_existing_exchange_is_used_without_being_declared(rabbitmq, service):
    async with channel(rabbitmq.url) as opened:  # as nameko's AUTO_DELETE_EVENT_EXCHANGES makes it
        await opened.declare_exchange(f"{service}.events", "topic", durable=True, auto_delete=True)
    async with (
        queue(rabbitmq.url, f"q-{service}", f"{service}.events", routing_key="#") as made,
        running(profile(rabbitmq, declare_events=False)) as hub,
    ):
        await hub.evbus.broker.dispatch(service, "created", 1, confirm="delivered")
        assert [message.body for message in await take(made, 1)] == [b"1"]


async def test_events_for_an_exchange_of_another_type_wait_and_the_error_says_how_to_use_it(rabbitmq, service):
    async with channel(rabbitmq.url) as opened:
        await opened.declare_exchange(f"{service}.events", "direct", durable=True)
    async with running(profile(rabbitmq, retry=QUICK)) as hub:
        await hub.evbus.broker.dispatch(service, "created", 1)
        trouble = await until(hub, "amqp:default", "refused")
        assert f"{service}.events" in trouble
        assert "declare_events: false" in trouble
        # It is retried, and continues once the exchange is deleted
        await delete(rabbitmq, f"{service}.events")
        await until(hub, "amqp:default", "open")
        assert (await hub.evbus.init.stop()).delivered == 1


@pytest.mark.parametrize("declares", [True, False], ids=["declared", "looked up"])
async def test_a_deleted_exchange_does_not_affect_events_for_other_queues(rabbitmq, service, fresh_name, declares):
    async with channel(rabbitmq.url) as opened:
        await opened.declare_exchange(f"{service}.events", "topic", durable=True)
    profiles = profile(rabbitmq, declare_events=declares, retry={"first": 0.01, **QUICK})
    async with queue(rabbitmq.url, fresh_name) as neighbour, running(profiles) as hub:
        await hub.evbus.broker.dispatch(service, "created", 1, confirm="delivered")
        await delete(rabbitmq, f"{service}.events")
        for number in range(10):
            hub.evbus.broker.dispatch_nowait(service, "created", number)
            hub.evbus.broker.put_nowait(fresh_name, number)
        account = await hub.evbus.init.stop()
        bodies = {int(message.body) for message in await take(neighbour, 10)}
    assert bodies == set(range(10))
    assert (account.delivered, account.dead_lettered) == ((21, 0) if declares else (11, 10))


@BOTH_WAYS
@pytest.mark.parametrize("where", ["exchange", "routing_key"])
async def test_an_exchange_or_routing_key_in_the_profile_takes_precedence(
    rabbitmq, service, fresh_name, batched, where
):
    options = {"exchange": {"exchange": "amq.topic"}, "routing_key": {"routing_key": fresh_name}}[where]
    binding = ("amq.topic",) if where == "exchange" else ()
    key = {"routing_key": "created"} if binding else {}
    async with (
        queue(rabbitmq.url, fresh_name, *binding, **key) as made,
        running(profile(rabbitmq, batched=batched, **options)) as hub,
    ):
        await hub.evbus.broker.dispatch(service, "created", 1, confirm="delivered")
        (message,) = await take(made, 1)
    assert message.exchange == ("amq.topic" if binding else "")
    assert message.headers == {"evbus-service": service}


@BOTH_WAYS
async def test_with_mandatory_an_event_that_nobody_listens_for_is_not_delivered(rabbitmq, service, batched):
    async with running(profile(rabbitmq, mandatory=True, batched=batched)) as hub:
        receipt = await fails(hub, service)
    (error,) = receipt.outcomes.values()
    assert f"'{service}.events'" in str(error)
    assert "'created'" in str(error)


async def test_the_exchange_is_declared_again_after_a_reconnect(rabbitmq, service):
    async with running(profile(rabbitmq, retry={"first": 0.01})) as hub:
        await hub.evbus.broker.dispatch(service, "created", 1, confirm="delivered")
        (lane,) = hub.evbus.RUNTIME.bus.lanes
        await lane.destination.ctx.publisher._connection.close()
        await delete(rabbitmq, f"{service}.events")
        assert (await hub.evbus.broker.dispatch(service, "created", 2, confirm="delivered")).delivered


async def test_on_kafka_an_event_of_a_service_is_sent_to_the_topic_of_the_service(kafka, fresh_name):
    profiles = {"kafka": {"default": {"connection": {"bootstrap_servers": kafka.bootstrap}}}}
    async with running(profiles) as hub:
        headers = {"nameko.call_id_stack": CHAIN}
        await hub.evbus.broker.dispatch(fresh_name, "created", {"id": 7}, headers=headers, confirm="delivered")
        await hub.evbus.broker.dispatch(fresh_name, "deleted", {"id": 8}, key="u-8", confirm="delivered")
    records = {record.key: record for record in await read(kafka.bootstrap, f"{fresh_name}.events", 2)}
    assert {key: record.value for key, record in records.items()} == {b"created": b'{"id":7}', b"u-8": b'{"id":8}'}
    headers = dict(records[b"created"].headers)
    assert (headers["evbus-routing-key"], headers["evbus-service"]) == (b"created", fresh_name.encode())
    chain = [value for name, value in records[b"created"].headers if name == "nameko.call_id_stack"]
    assert chain == [each.encode() for each in CHAIN]
    assert dict(records[b"u-8"].headers)["evbus-routing-key"] == b"deleted"


async def test_on_kafka_the_topics_of_the_profile_take_precedence_over_the_topic_of_the_service(kafka, fresh_name):
    connection = {"bootstrap_servers": kafka.bootstrap}
    async with running({"kafka": {"default": {"connection": connection, "topics": [fresh_name]}}}) as hub:
        await hub.evbus.broker.dispatch("users", "created", 1, confirm="delivered")
    (record,) = await read(kafka.bootstrap, fresh_name, 1)
    assert dict(record.headers)["evbus-routing-key"] == b"created"
