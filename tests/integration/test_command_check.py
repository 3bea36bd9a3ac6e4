"""`evbus check` looks at what brokers have for handlers and services; it sends, receives and makes nothing."""

import json

import aio_pika
import aiokafka

from tests import rpc
from tests.brokers.ports import free_port
from tests.integration.commands import evbus, write_credentials
from tests.integration.records import group_names
from tests.integration.support import channel, create_topic


async def checked(folder, profiles):
    """Run the command; gives its exit code and the rows by part and profile."""
    write_credentials(folder, profiles)
    code, out, err = await evbus(folder, "check", "--json")
    assert out, err
    return code, {(row["part"], row["profile"]): row for row in json.loads(out)}


async def test_rabbitmq_queues_and_exchanges_that_differ_from_what_a_start_declares_are_found(
    rabbitmq, fresh_name, tmp_path
):
    source = f"""
        @evbus.handler("{fresh_name}", "new")
        async def new(hub, event): ...

        @evbus.handler("{fresh_name}", "other")
        async def other(hub, event): ...

        @evbus.handler("{fresh_name}-b", "b")
        async def wrong_exchange(hub, event): ...

        @evbus.handler("{fresh_name}", "d", profile="dead")
        async def no_place_for_dead_letters(hub, event): ...
    """
    service = fresh_name.replace("-", "_")
    rpc.write(tmp_path, handler__shop=source, **{f"service__{service}": "async def hello(hub, name): ..."})
    new, other = (f"evt-{fresh_name}-{name}--shop.{name}" for name in ("new", "other"))
    connection = {"connection": {"url": rabbitmq.url}}
    profiles = {
        "default": connection,
        "dead": {**connection, "dead_letter_exchange": f"{fresh_name}-dead"},
        "nowhere": {**connection, "routing_key": f"{fresh_name}-nowhere"},
    }
    async with channel(rabbitmq.url) as opened:
        await opened.declare_exchange(f"{fresh_name}-b.events", "fanout", durable=True)
        await opened.declare_queue(other, durable=True, arguments={"x-max-length": 7})
        await opened.declare_queue(f"{other}.dead", durable=True)
        await opened.declare_queue(f"{new}.dead", durable=True)
        await opened.default_exchange.publish(aio_pika.Message(b"x"), f"{new}.dead")

        code, rows = await checked(tmp_path, {"amqp": profiles})

        of = {part: row for (part, _), row in rows.items()}
        assert code == 1
        assert rows["profile", "amqp:default"]["ok"]
        assert "create the queue, or give the profile an exchange" in rows["profile", "amqp:nowhere"]["problem"]
        assert of["handler shop.new"]["ok"]
        waiting, dead = of["handler shop.new"]["advice"]
        assert "does not exist yet" in waiting
        assert dead == f"1 dead letters wait in the queue '{new}.dead'"
        assert "It exists with other flags or arguments" in of["handler shop.other"]["problem"]
        assert "It exists with other flags or arguments" in of["handler shop.wrong_exchange"]["problem"]
        assert "dead_letter_exchange" in of["handler shop.no_place_for_dead_letters"]["problem"]
        assert of[f"service {service}"] == {**of[f"service {service}"], "ok": True, "advice": []}
        for name in (new, f"evt-{fresh_name}-b-b--shop.wrong_exchange", f"rpc-{service}"):
            assert not await exists(rabbitmq.url, name)
        for name in (other, f"{other}.dead", f"{new}.dead"):
            await opened.queue_delete(name)
        await opened.exchange_delete(f"{fresh_name}-b.events")


async def exists(url, queue):
    async with channel(url) as opened:
        try:
            await opened.declare_queue(queue, passive=True)
        except aio_pika.exceptions.ChannelNotFoundEntity:
            return False
    return True


async def test_kafka_topics_and_the_records_in_them_are_looked_at(strict_kafka, fresh_name, tmp_path):
    bootstrap = strict_kafka.bootstrap
    source = f"""
        @evbus.handler("{fresh_name}", "#")
        async def plain(hub, event): ...

        @evbus.handler("{fresh_name}", "#", default_format="json")
        async def told(hub, event): ...

        @evbus.handler("{fresh_name}-none", "#", profile="own")
        async def none(hub, event): ...
    """
    rpc.write(tmp_path, handler__shop=source)
    await create_topic(bootstrap, fresh_name, cleanup_policy="compact", max_message_bytes="10000")
    await create_topic(bootstrap, f"{fresh_name}-sync", min_insync_replicas="2")
    async with aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for number in range(3):
            await producer.send_and_wait(fresh_name, b'{"number": %d}' % number, b"key%d" % number)
        await producer.send_and_wait(fresh_name, b"x", b"k", headers=[("content-encoding", b"br"), json_type()])
    connection = {"connection": {"bootstrap_servers": bootstrap}}
    profiles = {
        "default": {**connection, "topics": [fresh_name]},
        "own": connection,
        "sync": {**connection, "topics": [f"{fresh_name}-sync"]},
    }

    code, rows = await checked(tmp_path, {"kafka": profiles})

    of = {part: row for (part, _), row in rows.items()}
    limit, compacted = rows["profile", "kafka:default"]["advice"]
    assert code == 1
    assert "takes 10000 bytes (max.message.bytes), and max_event_bytes of the profile is 1044480" in limit
    assert "is compacted" in compacted
    assert "min.insync.replicas=2 and 1 replicas" in rows["profile", "kafka:sync"]["problem"]
    dead, unknown, plain = of["handler shop.plain"]["advice"]
    assert "for its dead letters does not exist" in dead
    assert "1 of the latest 4 events would be dead letters" in unknown
    assert "the content encoding 'br' is unknown" in unknown
    assert "3 of the latest 4 events have no content type, so it gets bytes: default_format='json'" in plain
    assert len(of["handler shop.told"]["advice"]) == 2
    assert f"topic '{fresh_name}-none.events' does not exist" in of["handler shop.none"]["advice"][0]
    assert of["handler shop.none"]["ok"]
    assert not [name for name in await group_names(bootstrap) if fresh_name in name]


def json_type():
    return "content-type", b"application/json"


async def test_a_host_of_a_cluster_that_is_away_or_unknown_is_named(rabbitmq, tmp_path):
    here, away = f"{rabbitmq.host}:{rabbitmq.port}", f"{rabbitmq.host}:{free_port()}"
    profiles = {"amqp": {"default": {"connection": {"hosts": [here, away, "rabbit.invalid"]}}}}

    code, rows = await checked(tmp_path, profiles)

    (problem,) = [row["problem"] for row in rows.values() if row["problem"]]
    assert code == 1
    assert "2 of 3 hosts cannot be used" in problem
    assert f"RabbitMQ at {away}" in problem
    assert "RabbitMQ at rabbit.invalid:5672" in problem
    assert here not in problem
