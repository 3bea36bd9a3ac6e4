"""RabbitMQ as a source: which queues there are, who gets an event, and what of it arrives."""

import asyncio
import json
import struct
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aio_pika
import aiormq
import pytest

from evbus_like.errors import HandlerError
from evbus_like.handlers import BROADCAST, SINGLETON
from evbus_like.testing import eventually
from tests.integration import sources
from tests.integration.receiving import RecordingHandler, handle, receiving
from tests.integration.support import DEADLINE, channel, without_type


@pytest.fixture
def profile(rabbitmq):
    return {"connection": {"url": rabbitmq.url}}


@asynccontextmanager
async def publishing(url, service):
    """Give a function that publishes an event of a service, by plain aio-pika."""
    async with channel(url) as opened:
        exchange = await opened.declare_exchange(f"{service}.events", "topic", durable=True)

        async def publish(event_type, body, **properties):
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            message = aio_pika.Message(
                content, **{"content_type": "application/json", "delivery_mode": 2, **properties}
            )
            await exchange.publish(message, event_type, mandatory=False)

        yield publish


def queues(rabbitmq, service):
    """Give the queues of a service's events as rabbitmqctl shows them: name to flags."""
    fields = ("name", "durable", "auto_delete", "exclusive", "arguments", "type")
    rows = json.loads(rabbitmq.ctl("list_queues", *fields, "--formatter", "json"))
    return {row.pop("name"): row for row in rows if service in row["name"]}


async def test_an_event_reaches_a_handler_with_all_that_its_message_says(rabbitmq, profile, fresh_name):
    seen = RecordingHandler()
    async with (
        receiving(profile, handle(seen, fresh_name, "placed")),
        publishing(rabbitmq.url, fresh_name) as publish,
    ):
        moment = datetime(2026, 7, 1, tzinfo=UTC)
        headers = {"text": "ä", "number": 7, "big": 2**40, "real": 1.5, "yes": True, "none": None}
        deep = {"list": ["a", ["b"]], "table": {"x": {"y": 1}}, "moment": moment, "raw": bytearray(b"\x00\xff")}
        await publish("placed", {"n": 1}, message_id="id-1", timestamp=moment, headers={**headers, **deep})
        await seen.wait_for(1)
    (event,) = seen.events
    assert (event.body, event.raw, event.content_type) == ({"n": 1}, b'{"n": 1}', "application/json")
    assert (event.id, event.routing_key, event.service) == ("id-1", "placed", fresh_name)
    assert (event.redelivered, event.attempt, event.timestamp) == (False, 1, moment.timestamp())
    expected = {**headers, **deep, "moment": "2026-07-01T00:00:00+00:00", "raw": b"\x00\xff"}
    assert dict(event.headers) == expected


async def test_the_lags_of_all_workers_together_are_the_events_of_their_queue_that_are_not_settled(
    rabbitmq, profile, fresh_name
):
    go_on = asyncio.Event()

    async def wait(event):
        await go_on.wait()

    def lag():
        return sum(facts["lag"] or 0 for group in (one, other) for facts in group.status().values())

    profiles, options = {"amqp": {"default": profile}}, {"max_workers": 1, "prefetch": 3}
    async with (
        sources.receiving(profiles, sources.handler(wait, fresh_name, ("created",), **options)) as one,
        sources.receiving(profiles, sources.handler(wait, fresh_name, ("created",), **options)) as other,
        publishing(rabbitmq.url, fresh_name) as publish,
    ):
        for number in range(30):
            await publish("created", number)
        await eventually(lambda: lag() == 30)
        go_on.set()
        await eventually(lambda: lag() == 0)


async def test_an_id_is_in_a_header_where_there_is_no_message_id(rabbitmq, profile, fresh_name):
    seen = RecordingHandler()
    async with (
        receiving(profile, handle(seen, fresh_name, "placed")),
        publishing(rabbitmq.url, fresh_name) as publish,
    ):
        async with channel(rabbitmq.url) as opened:
            plain = await opened.get_underlay_channel()
            properties = aiormq.spec.Basic.Properties(headers={"evbus-id": "from a header"})
            # aiormq gives every message an id; so these frames are written by hand
            await send_raw(plain, f"{fresh_name}.events", "placed", properties.marshal(), b"x")
            await send_raw(plain, f"{fresh_name}.events", "placed", b"\x00\x00", b"y")
            await seen.wait_for(2)
        await publish("placed", 1, message_id="of its own", headers={"evbus-id": "from a header"})
        await seen.wait_for(3)
    assert [event.id for event in seen.events] == ["from a header", "", "of its own"]


async def test_nobody_gets_what_he_did_not_ask_for(rabbitmq, profile, fresh_name):
    seen = RecordingHandler()
    async with (
        receiving(profile, handle(seen, fresh_name, ("user.*", "order.#"))),
        publishing(rabbitmq.url, fresh_name) as publish,
    ):
        for event_type in ("user.made", "user.made.twice", "order", "order.a.b", "other", "user.gone"):
            await publish(event_type, event_type)
        await seen.wait_for(4)
    assert seen.bodies == ["user.made", "order", "order.a.b", "user.gone"]


async def test_queues_and_exchanges_are_named_and_flagged_as_nameko_does(rabbitmq, profile, fresh_name):
    seen = RecordingHandler()
    pool = handle(seen, fresh_name, "placed")
    loose = handle(seen, fresh_name, "placed", name="loose", reliable=False)
    single = handle(seen, fresh_name, "placed", name="any", delivery=SINGLETON)
    kept = handle(seen, fresh_name, "placed", name="all", delivery=BROADCAST, broadcast_identifier="host1")
    every = handle(seen, fresh_name, "placed", name="each", delivery=BROADCAST, reliable=False)
    async with receiving(profile, pool, loose, single, kept, every):
        found = queues(rabbitmq, fresh_name)
        exchanges = rabbitmq.ctl("list_exchanges", "name", "type", "durable", "auto_delete", "internal", "arguments")
        bindings = rabbitmq.ctl("list_bindings", "source_name", "destination_name", "routing_key")
    begin = f"evt-{fresh_name}-placed"
    (own,) = (name for name in found if name.startswith(f"{begin}--shipping.each-"))
    assert len(own) == len(f"{begin}--shipping.each-") + 32
    plain = {"durable": True, "auto_delete": False, "exclusive": False, "arguments": [], "type": "classic"}
    expected = {
        f"{begin}--shipping.ship": plain,
        f"{begin}--shipping.loose": {**plain, "auto_delete": True},
        begin: plain,
        f"{begin}--shipping.all-host1": plain,
        # declared as durable; RabbitMQ makes none of what goes with its connection
        own: {**plain, "durable": False, "auto_delete": True, "exclusive": True},
    }
    assert {name: {**flags, "arguments": without_type(flags["arguments"])} for name, flags in found.items()} == expected
    assert f"{fresh_name}.events\ttopic\ttrue\tfalse\tfalse\t[]" in exchanges
    for name in expected:
        assert f"{fresh_name}.events\t{name}\tplaced" in bindings
    # And what nobody need keep is gone with its reader
    kept_names = {name for name, flags in expected.items() if not flags["auto_delete"]}
    await eventually(lambda: set(queues(rabbitmq, fresh_name)) == kept_names)


async def test_quorum_queues_where_the_profile_asks_for_them(rabbitmq, profile, fresh_name):
    seen = RecordingHandler()
    handlers = [
        handle(seen, fresh_name, "placed"),
        handle(seen, fresh_name, "placed", name="loose", reliable=False),
    ]
    async with receiving({**profile, "quorum": True}, *handlers), publishing(rabbitmq.url, fresh_name) as publish:
        types = {name.rpartition(".")[2]: flags["type"] for name, flags in queues(rabbitmq, fresh_name).items()}
        assert types == {"ship": "quorum", "loose": "classic"}
        await publish("placed", 1)
        await seen.wait_for(2)


async def test_an_instance_of_a_pool_gets_each_event_and_each_service_and_broadcast_gets_all(
    rabbitmq, profile, fresh_name
):
    one, two, other, all_one, all_two, single = (RecordingHandler() for _ in range(6))
    loose = {"name": "each", "delivery": BROADCAST, "reliable": False}
    first = (
        handle(one, fresh_name, "placed"),
        handle(all_one, fresh_name, "placed", **loose),
        handle(single, fresh_name, "placed", name="a", delivery=SINGLETON),
    )
    second = (
        handle(two, fresh_name, "placed"),
        handle(all_two, fresh_name, "placed", **loose),
        handle(other, fresh_name, "placed", service="billing"),
        handle(single, fresh_name, "placed", service="billing", name="b", delivery=SINGLETON),
    )
    async with (
        receiving(profile, *first),
        receiving(profile, *second),
        publishing(rabbitmq.url, fresh_name) as publish,
    ):
        for number in range(40):
            await publish("placed", number)
        everything = list(range(40))
        for seen in (other, all_one, all_two, single):
            await seen.wait_for(40)
        await eventually(lambda: len(one.events) + len(two.events) >= 40)
    for bodies in (other.bodies, all_one.bodies, all_two.bodies, single.bodies, one.bodies + two.bodies):
        assert sorted(bodies) == everything
    assert one.bodies
    assert two.bodies


async def test_reliable_queues_keep_events_while_nobody_receives(rabbitmq, profile, fresh_name):
    before, after, missed = RecordingHandler(), RecordingHandler(), RecordingHandler()
    async with receiving(profile, handle(before, fresh_name, "placed")):
        pass
    async with publishing(rabbitmq.url, fresh_name) as publish:
        await publish("placed", "kept")
        loose = handle(missed, fresh_name, "placed", name="loose", reliable=False)
        async with receiving(profile, handle(after, fresh_name, "placed"), loose):
            await after.wait_for(1)
            await publish("placed", "now")
            await missed.wait_for(1)
            await after.wait_for(2)
    assert (after.bodies, missed.bodies) == (["kept", "now"], ["now"])


async def test_an_event_is_acknowledged_when_its_handler_is_done_and_not_before(rabbitmq, profile, fresh_name):
    go_on = asyncio.Event()
    seen = RecordingHandler(lambda event: go_on.wait())
    ready = "messages_ready", "messages_unacknowledged"

    def counts():
        (found,) = (counts for name, counts in rabbitmq.queues(*ready).items() if fresh_name in name)
        return found[ready[0]], found[ready[1]]

    async with (
        receiving(profile, handle(seen, fresh_name, "placed")),
        publishing(rabbitmq.url, fresh_name) as publish,
    ):
        await publish("placed", 1)
        await seen.wait_for(1)
        await eventually(lambda: counts() == (0, 1))  # a quorum queue counts now and then
        await asyncio.sleep(0.2)
        assert counts() == (0, 1)
        go_on.set()
        await eventually(lambda: counts() == (0, 0))


async def test_the_exchange_that_a_profile_names_is_the_one_that_is_bound(rabbitmq, profile, fresh_name):
    seen = RecordingHandler()
    name = f"own-{fresh_name}"
    own = {**profile, "exchange": name, "declare": {"type": "direct"}}
    async with receiving(own, handle(seen, fresh_name, "placed")), channel(rabbitmq.url) as opened:
        exchange = await opened.declare_exchange(name, "direct", durable=True)
        await exchange.publish(aio_pika.Message(b"1", content_type="application/json"), "placed")
        await seen.wait_for(1)
    assert seen.events[0].service == fresh_name


async def test_messages_with_odd_properties_are_handled_and_stop_nothing(rabbitmq, fresh_name):
    # Given messages that RabbitMQ takes and that a strict reader cannot decode
    seen = RecordingHandler()
    odd = {
        "no utf-8 anywhere": properties((1 << 15, b"\x02\xff\xfe"), (1 << 7, b"\x02\xc3\x28")),
        "a year that no calendar has": properties((1 << 6, struct.pack(">Q", 2**63))),
        "a header that is no utf-8": properties((1 << 13, table(b"\x02\xff\xfeS\x00\x00\x00\x02\xff\xfe"))),
        "a moment beyond all": properties((1 << 13, table(b"\x01tT" + struct.pack(">Q", 2**64 - 1)))),
        "nothing": b"\x00\x00",
    }
    async with (
        receiving({"connection": {"url": rabbitmq.url}}, handle(seen, fresh_name, "placed")) as worker,
        channel(rabbitmq.url) as opened,
        publishing(rabbitmq.url, fresh_name) as publish,
    ):
        plain = await opened.get_underlay_channel()
        for name, raw in odd.items():
            await send_raw(plain, f"{fresh_name}.events", "placed", raw, name.encode())
        await publish("placed", "fine")
        # Then the handler has them all, and the connection was never lost
        await seen.wait_for(len(odd) + 1)
        await asyncio.sleep(0.2)
        stats = worker.stats()
    bodies = [event.raw.decode() for event in seen.events]
    # The last message came on a connection of its own, so it may arrive between the others
    assert [body for body in bodies if body != '"fine"'] == [*odd]
    assert (stats.received, stats.handled, stats.lost) == (len(odd) + 1, len(odd) + 1, 0)
    assert seen.events[bodies.index("a header that is no utf-8")].headers == {"\\xff\\xfe": b"\xff\xfe"}


def properties(*parts):
    """Write properties by hand, in the order of their flags."""
    return struct.pack(">H", sum(flag for flag, _ in parts)) + b"".join(part for _, part in parts)


def table(entries):
    """Write a field table."""
    return struct.pack(">I", len(entries)) + entries


async def send_raw(plain, exchange, routing_key, raw, body):
    """Publish with these very bytes as properties, on an aiormq channel."""
    key, place = routing_key.encode(), exchange.encode()
    names = bytes([len(place)]) + place + bytes([len(key)]) + key
    method = struct.pack(">HHH", 60, 40, 0) + names + b"\x00"
    header = struct.pack(">HHQ", 60, 0, len(body)) + raw
    frames = ((1, method), (2, header), (3, body))
    data = b"".join(struct.pack(">BHI", kind, plain.number, len(it)) + it + b"\xce" for kind, it in frames)
    await plain.write_queue.put(aiormq.abc.ChannelFrame(data, should_close=False))


async def test_a_body_of_many_frames_arrives_whole(rabbitmq, profile, fresh_name):
    seen = RecordingHandler()
    big = bytes(range(256)) * 4096 * 3
    async with (
        receiving(profile, handle(seen, fresh_name, "placed")),
        publishing(rabbitmq.url, fresh_name) as publish,
    ):
        await publish("placed", big, content_type="application/octet-stream")
        await publish("placed", b"", content_type="application/octet-stream")
        await seen.wait_for(2)
    assert [event.raw for event in seen.events] == [big, b""]


async def refused(profile, handler):
    """Start a handler that cannot have its queue, and give what is said of it."""
    async with receiving(profile, handler, join=False) as worker:
        async with asyncio.timeout(DEADLINE):
            return await worker.until("refused")


async def test_a_queue_that_exists_with_other_flags_is_named_with_what_to_do(rabbitmq, profile, fresh_name):
    async with receiving(profile, handle(RecordingHandler(), fresh_name, "placed")):
        pass
    said = await refused(profile, handle(RecordingHandler(), fresh_name, "placed", reliable=False))
    assert f"'evt-{fresh_name}-placed--shipping.ship'" in said
    assert "other flags" in said
    assert "rabbitmqctl delete_queue" in said


async def test_an_exclusive_queue_of_another_is_named_with_what_to_do(rabbitmq, profile, fresh_name):
    loose = {"delivery": BROADCAST, "reliable": False, "broadcast_identifier": "same"}
    async with receiving(profile, handle(RecordingHandler(), fresh_name, "placed", **loose)):
        said = await refused(profile, handle(RecordingHandler(), fresh_name, "placed", **loose))
    assert "broadcast_identifier" in said


async def test_an_exchange_of_another_type_is_named_with_what_to_do(rabbitmq, profile, fresh_name):
    async with channel(rabbitmq.url) as opened:
        await opened.declare_exchange(f"{fresh_name}.events", "fanout", durable=True)
    said = await refused(profile, handle(RecordingHandler(), fresh_name, "placed"))
    assert f"the exchange '{fresh_name}.events'" in said
    assert "declare:" in said


async def test_an_exchange_that_the_profile_names_and_nobody_made_is_missed(rabbitmq, profile, fresh_name):
    said = await refused({**profile, "exchange": fresh_name}, handle(RecordingHandler(), "orders", "placed"))
    assert f"no exchange '{fresh_name}'" in said
    assert "Create it" in said


async def test_a_user_without_rights_is_told_which_ones(rabbitmq, profile, fresh_name):
    user = fresh_name
    rabbitmq.ctl("add_user", user, "secret-word")
    rabbitmq.ctl("set_permissions", user, "^$", "^$", "^$")
    url = rabbitmq.url.replace("guest:guest", f"{user}:secret-word")
    said = await refused({**profile, "connection": {"url": url}}, handle(RecordingHandler(), fresh_name, "placed"))
    assert "set_permissions" in said
    assert "secret-word" not in said


async def test_a_wrong_password_is_a_refusal_that_shows_no_secret(rabbitmq, profile, fresh_name):
    url = rabbitmq.url.replace("guest:guest", "guest:not-it-at-all")
    said = await refused({**profile, "connection": {"url": url}}, handle(RecordingHandler(), fresh_name, "placed"))
    assert "refused the login of user 'guest'" in said
    assert "not-it-at-all" not in said


@pytest.mark.parametrize(
    ("options", "types", "said"),
    [
        ({"routing_key": "all"}, "placed", "go to the queue 'all'"),
        ({}, "x" * 250, "bytes long"),
        ({}, ("a" * 120, "b" * 120), "bytes long"),
    ],
)
async def test_what_rabbitmq_could_never_have_is_refused_at_the_start(options, types, said):
    profile = {"connection": {"url": "amqp://nowhere.invalid"}, **options}
    with pytest.raises(HandlerError, match=said):
        async with receiving(profile, handle(RecordingHandler(), "orders", types)):
            pass


async def test_names_that_the_letter_of_amqp_forbids_and_rabbitmq_takes(rabbitmq, profile, fresh_name):
    seen = RecordingHandler()
    service = f"bestellung/ä*{'x' * 130}-{fresh_name}"
    async with receiving(profile, handle(seen, service, "placed")), channel(rabbitmq.url) as opened:
        plain = await opened.get_underlay_channel()
        await send_raw(plain, f"{service}.events", "placed", b"\x00\x00", b"1")
        await seen.wait_for(1)
    assert seen.events[0].service == service
