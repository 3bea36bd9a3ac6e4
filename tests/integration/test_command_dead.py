"""`evbus dead` on the dead letters of handlers, at brokers: run as an operator runs it, beside running handlers."""

import asyncio
import json
from collections import Counter

import aio_pika
import aiokafka
import pytest

from evbus_like.engine.outbox import Outbox, inspect
from evbus_like.handlers import REJECT
from evbus_like.testing import eventually, new_hub, running
from tests.integration.commands import evbus, read_line_with, start_evbus, wait_for_end, write_credentials
from tests.integration.receiving import RecordingHandler, handle, receiving
from tests.integration.sources import receiving as source_receiving
from tests.integration.support import channel, create_topic
from tests.integration.test_amqp_source import publishing
from tests.unit.outboxes import make

APP = """
import evbus_like.handlers as evbus


@evbus.handler({service!r}, "placed")
async def ship(hub, event):
    pass


@evbus.handler({service!r}, "placed")
async def audit(hub, event):
    pass
"""
REASONS = ("no address", "no stock", "no price")
LETTERS = 50


@pytest.fixture
def folder(tmp_path, fresh_name):
    """A folder with the application of the handlers shipping.ship and shipping.audit."""
    app = tmp_path / "desk"
    (app / "handler").mkdir(parents=True)
    (app / "__init__.py").touch()
    (app / "conf.py").write_text('DYNE = {"handler": ["handler"]}\n')
    (app / "handler" / "shipping.py").write_text(APP.format(service=fresh_name))
    return tmp_path


def fail(event):
    raise ValueError(f"{REASONS[event.body['n'] % 3]}\nat line {event.body['n']}")


async def dead(folder, *arguments):
    """Run `evbus dead` on the broker's letters with --json; gives its exit code and the document."""
    code, out, err = await evbus(folder, "dead", *arguments, "--at", "amqp:default", "--json")
    assert "Traceback" not in err, err
    return code, json.loads(out)


@pytest.fixture(params=["classic", "quorum"])
def profile(request, rabbitmq, folder):
    profile = {"connection": {"url": rabbitmq.url}, "quorum": request.param == "quorum"}
    write_credentials(folder, {"amqp": {"default": profile}})
    return profile


def facts(event):
    """What a handler sees of an event."""
    return (
        *(event.id, event.routing_key, event.service, event.raw, event.content_type, event.timestamp),
        *(event.attempt, event.redelivered, json.dumps(event.headers, sort_keys=True)),
    )


async def test_letters_are_grouped_replayed_by_reason_and_none_is_lost_if_the_replay_is_killed(
    rabbitmq, folder, profile, fresh_name
):
    failing, audit, mended = RecordingHandler(fail), RecordingHandler(), RecordingHandler()
    ship = handle(failing, fresh_name, "placed", on_error=REJECT)
    other = handle(audit, fresh_name, "placed", name="audit")
    async with receiving(profile, ship, other) as worker, publishing(rabbitmq.url, fresh_name) as publish:
        for n in range(LETTERS):
            await publish("placed", {"n": n}, message_id=f"id-{n}", headers={"own": n}, timestamp=1_700_000_000 + n)
        await eventually(lambda: worker.stats(0).dead == LETTERS and worker.stats(1).handled == LETTERS)
    seen = {facts(event) for event in failing.events}
    assert len(seen) == LETTERS

    code, listed = await dead(folder, "ls")
    groups = {group["reason"]: group for group in listed["groups"]}
    assert code == 0
    assert {reason.partition("ValueError: ")[2]: group["count"] for reason, group in groups.items()} == {
        "no address": 17, "no stock": 17, "no price": 16
    }  # fmt: skip
    assert {(group["owner"], group["place"]) for group in listed["groups"]} == {("shipping.ship", "amqp:default")}
    assert all(group["oldest"] <= group["newest"] for group in listed["groups"])

    again = handle(mended, fresh_name, "placed", on_error=REJECT)
    async with receiving(profile, again, other) as worker:
        process = start_evbus(
            folder, "dead", "replay", "--all", "--at", "amqp:default", "--reason", "no address", "--rate", "5"
        )
        await mended.wait_for(3)
        process.kill()
        await wait_for_end(process)
        assert len(mended.events) < 17
        code, replayed = await dead(folder, "replay", "--all", "--reason", "no address")
        await eventually(lambda: len({event.id for event in mended.events}) == 17)
        assert (code, replayed["failed"], replayed["not_looked_at"]) == (0, {}, [])
        code, left = await dead(folder, "ls", "--limit", "100")

    # One that was replayed when the command was killed, and not acknowledged, may come again
    assert {facts(event) for event in mended.events} == {each for each in seen if int(each[0][3:]) % 3 == 0}
    assert len(audit.events) == LETTERS
    assert code == 0
    assert Counter(letter["id"] for letter in left["dead_letters"]) == Counter(
        f"id-{n}" for n in range(LETTERS) if n % 3
    )


async def test_a_running_bus_sends_the_letters_of_its_outbox_and_a_replay_that_was_killed_is_resumed(
    folder, monkeypatch
):
    path = folder / "outbox.sqlite"
    monkeypatch.setenv("EVBUS_OUTBOX", str(path))
    box = Outbox(path)
    box.open()
    for n in range(LETTERS):
        event = make(b"%d" % n, id=f"id-{n}")
        await box.dead_letter_event("internal:default", event, f"{REASONS[n % 3]}\nat line {n}", "PoisonEvent", 1)
    await box.close()
    ours, got, hub = ("--at", "outbox", "--outbox", str(path), "--json"), list[int](), new_hub()

    async def collect():
        queue = await hub.ingress.internal.get("orders.created")
        while True:
            got.append(int(await queue.get()))

    async with running({"internal": {"default": None}}, hub):
        collecting = asyncio.create_task(collect())
        _, out, _ = await evbus(folder, "dead", "ls", *ours)
        process = start_evbus(folder, "dead", "replay", "--all", "--reason", "no stock", "--rate", "5", *ours)
        await eventually(lambda: len(got) >= 3)
        process.kill()
        await wait_for_end(process)
        assert len(got) < 17
        code, again, err = await evbus(folder, "dead", "replay", "--all", "--reason", "no stock", *ours)
        await eventually(lambda: len(got) >= 17)
        purging, _, _ = await evbus(folder, "dead", "purge", "--all", "--reason", "no price", "--yes", *ours)
        collecting.cancel()

    groups = [(group["reason"], group["count"]) for group in json.loads(out)["groups"]]
    assert sorted(groups) == [("no address", 17), ("no price", 16), ("no stock", 17)]
    assert (code, purging, json.loads(again)["failed"], err) == (0, 0, {}, "")
    assert sorted(got) == list(range(1, LETTERS, 3))
    assert [letter.event.id for letter in inspect.dead_letters(path)] == [f"id-{n}" for n in range(0, LETTERS, 3)]
    assert inspect.summarize(path).waiting == {}


async def test_letters_are_shown_replayed_to_another_handler_and_purged_by_id(rabbitmq, folder, profile, fresh_name):
    failing, audit = RecordingHandler(fail), RecordingHandler()
    ship = handle(failing, fresh_name, "placed", on_error=REJECT)
    other = handle(audit, fresh_name, "placed", name="audit")
    async with receiving(profile, ship, other) as worker, publishing(rabbitmq.url, fresh_name) as publish:
        for n in range(3):
            await publish("placed", {"n": n}, message_id=f"id-{n}")
        await eventually(lambda: worker.stats(0).dead == 3 and worker.stats(1).handled == 3)
        _, text, _ = await evbus(folder, "dead", "show", "id-1")
        code, replayed = await dead(folder, "replay", "id-0", "id-9", "--to", "shipping.audit")
        await audit.wait_for(4)
        purging, purged = await dead(folder, "purge", "id-2", "--yes")

    words = ["id-1", "shipping.ship", "no stock", '"n": 1', "amqp:default", "given up:     20"]
    assert [word for word in words if word not in text] == []
    assert (code, replayed["replayed"], replayed["missing"]) == (1, 1, ["id-9"])
    assert [event.id for event in audit.events].count("id-0") == 2
    assert (purging, purged["purged"]) == (0, 1)
    _, left = await dead(folder, "ls")
    assert [letter["id"] for letter in left["dead_letters"]] == ["id-1"]


async def test_what_was_not_looked_at_is_named_and_the_exit_code_is_not_0(rabbitmq, folder, fresh_name):
    data = {"connection": {"url": rabbitmq.url}}
    write_credentials(folder, {"amqp": {"default": data}})

    code, text, err = await evbus(folder, "dead", "ls", credentials=False)
    assert code == 1
    assert "not looked at: dead letters of handlers" in err
    assert "in what was looked at: outbox " in text

    code, text, err = await evbus(folder, "dead", "ls")
    assert (code, err) == (0, "")
    assert f"amqp:default evt-{fresh_name}-placed--shipping.ship.dead" in text

    write_credentials(folder, {"amqp": {"default": {**data, "dead_letter_exchange": "graveyard"}}})
    code, text, err = await evbus(folder, "dead", "ls")
    assert code == 1
    assert "'graveyard'" in err
    assert "shipping.ship.dead" not in text

    write_credentials(folder, {"internal": {"default": None}})
    code, _, err = await evbus(folder, "dead", "ls")
    assert code == 1
    assert "internal:default" in err


async def test_letters_that_another_program_holds_are_not_taken_for_none(rabbitmq, folder, fresh_name):
    async def hold(message):
        """Neither acknowledge nor reject."""

    write_credentials(folder, {"amqp": {"default": {"connection": {"url": rabbitmq.url}}}})
    queue = f"evt-{fresh_name}-placed--shipping.ship.dead"
    async with channel(rabbitmq.url) as opened:
        made = await opened.declare_queue(queue, durable=True)
        await opened.default_exchange.publish(aio_pika.Message(b"{}"), queue)
        await made.consume(hold)
        code, listed = await dead(folder, "ls")
    assert code == 1
    (unlooked,) = listed["not_looked_at"]
    assert queue in unlooked["place"]
    assert "consumers" in unlooked["reason"]


async def test_letters_in_a_topic_of_kafka_are_grouped_and_replayed_to_their_own_handler(kafka, folder, fresh_name):
    topic = f"{fresh_name}.events"
    profiles = {"kafka": {"default": {"connection": {"bootstrap_servers": kafka.bootstrap}}}}
    write_credentials(folder, profiles)
    await create_topic(kafka.bootstrap, topic, partitions=2)
    failing, audit, mended = RecordingHandler(fail), RecordingHandler(), RecordingHandler()
    other = handle(audit, fresh_name, "placed", name="audit")

    async def at_kafka(*arguments):
        code, out, err = await evbus(folder, "dead", *arguments, "--at", "kafka:default", "--json")
        assert "Traceback" not in err, err
        return code, json.loads(out)

    async with source_receiving(profiles, handle(failing, fresh_name, "placed", on_error=REJECT), other):
        async with aiokafka.AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
            for n in range(LETTERS):
                headers = {"evbus-routing-key": "placed", "evbus-id": f"id-{n}", "content-type": "application/json"}
                encoded = [(name, value.encode()) for name, value in headers.items()] + [("own", b"%d" % n)]
                await producer.send_and_wait(
                    topic, b'{"n": %d}' % n, b"k%d" % n, headers=encoded, timestamp_ms=10**12 + n
                )
        await eventually(lambda: len(failing.events) == LETTERS and len(audit.events) == LETTERS)
    seen = {facts(event) for event in failing.events}

    code, listed = await at_kafka("ls")
    assert code == 0, listed
    assert sorted(group["count"] for group in listed["groups"]) == [16, 17, 17]
    assert {(group["owner"], group["place"]) for group in listed["groups"]} == {("shipping.ship", "kafka:default")}

    async with source_receiving(profiles, handle(mended, fresh_name, "placed", on_error=REJECT), other):
        process = start_evbus(folder, "dead", "replay", "--all", "--reason", "no address", "--rate", "5")
        await mended.wait_for(3)
        process.kill()
        await wait_for_end(process)
        assert len(mended.events) < 17
        code, replayed = await at_kafka("replay", "--all", "--reason", "no address")
        assert (code, replayed["failed"]) == (0, {})
        await eventually(lambda: len({event.id for event in mended.events}) == 17)
        purging, purged = await at_kafka("purge", "id-1", "--yes")
        _, left = await at_kafka("ls", "--limit", "100")

    # One that was replayed when the command was killed, and not noted, may come again
    assert {facts(event) for event in mended.events} == {each for each in seen if int(each[0][3:]) % 3 == 0}
    assert len(audit.events) == LETTERS
    assert (purging, purged["purged"]) == (0, 1)
    assert Counter(letter["id"] for letter in left["dead_letters"]) == Counter(
        f"id-{n}" for n in range(2, LETTERS) if n % 3
    )


async def test_dead_letters_are_shown_as_they_come_and_those_before_are_not(rabbitmq, folder, profile, fresh_name):
    ship = handle(RecordingHandler(fail), fresh_name, "placed", on_error=REJECT)
    async with receiving(profile, ship) as worker, publishing(rabbitmq.url, fresh_name) as publish:
        await publish("placed", {"n": 0}, message_id="before")
        await eventually(lambda: worker.stats(0).dead == 1)
        process = start_evbus(folder, "tail", "--follow-dead", "--json", "--count", "2")
        await read_line_with(process, process.stderr, "Ctrl-C stops")
        for n in (1, 2):
            await publish("placed", {"n": n}, message_id=f"id-{n}")
        code, out, err = await wait_for_end(process)

    letters = [json.loads(line) for line in out.splitlines()]
    assert code == 0, err
    assert {(each["id"], each["handler"]) for each in letters} == {("id-1", "shipping.ship"), ("id-2", "shipping.ship")}
    assert sorted(each["reason"].splitlines()[0] for each in letters) == sorted(
        f"rejected: ValueError: {REASONS[n]}" for n in (1, 2)
    )
