"""amqp/encoder.py: pamqp reads back what it writes by hand."""

import asyncio
import datetime
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import body as pamqp_body
from pamqp import commands, frame, header

from evbus_like.amqp.encoder import Encoder, UnknownExchange
from evbus_like.amqp.publisher import Batches
from evbus_like.amqp.settings import PublishOptions
from evbus_like.engine.event import SERVICE_HEADER, Event
from evbus_like.engine.expiry import EXPIRES, PRIORITY
from tests.unit.amqp import confirm_channel

text = st.text(st.characters(exclude_categories=["Cs"]))
short = st.text(st.characters(exclude_categories=["Cs"]), max_size=63)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = text | st.booleans() | st.integers(-(2**63), 2**63 - 1) | finite | st.none() | st.binary()
values = scalars | st.lists(text, max_size=4)


def decode(data):
    """Take frames off until the bytes are at their end."""
    frames = []
    while data:
        size, channel, made = frame.unmarshal(data)
        frames.append((channel, made))
        data = data[size:]
    return frames


def event(body=b"{}", routing_key="k", headers=None, content_type="application/json"):
    made = Event(routing_key, body, "p", headers)
    made.content_type, made.timestamp = content_type, 1_700_000_000.9
    return made


def encoder(frame_size=100, exchanges=None, **options):
    return Encoder(3, frame_size, PublishOptions(**{"exchange": "orders", "app_id": "app", **options}), exchanges)


def written(codec, made, routing_key="k"):
    frames = []
    codec.encode(made, routing_key, frames)
    return b"".join(frames)


def first_header(made):
    return next(f for _, f in decode(made) if isinstance(f, header.ContentHeader))


@settings(max_examples=2 * settings().max_examples)
@given(
    body=st.binary(max_size=350),
    routing_key=short,
    exchange=short,
    headers=st.none() | st.dictionaries(names, values, max_size=5),
    flags=st.tuples(st.booleans(), st.booleans()),
)
def test_pamqp_reads_back_every_part_of_a_publish(body, routing_key, exchange, headers, flags):
    mandatory, persistent = flags
    made = event(body, routing_key, headers)

    frames = decode(written(encoder(exchange=exchange, mandatory=mandatory, persistent=persistent), made, routing_key))

    (_, method), (_, head), *rest = frames
    assert {channel for channel, _ in frames} == {3}
    assert isinstance(method, commands.Basic.Publish)
    assert (method.exchange, method.routing_key, method.mandatory, method.immediate) == (
        exchange,
        routing_key,
        mandatory,
        False,
    )
    properties = head.properties
    assert head.body_size == len(body)
    assert properties.content_type == "application/json"
    assert properties.delivery_mode == (2 if persistent else 1)
    assert properties.message_id == made.id
    assert properties.app_id == "app"
    assert properties.timestamp == datetime.datetime.fromtimestamp(1_700_000_000, datetime.UTC)
    assert alike(properties.headers or {}, headers or {})
    assert all(isinstance(piece, pamqp_body.ContentBody) for _, piece in rest)
    assert b"".join(piece.value for _, piece in rest) == body
    assert all(len(piece.value) <= 100 for _, piece in rest)


def alike(got, given):
    """Whether headers came back; AMQP's readers may take bytes for text."""
    return all(
        got[name] == value or (isinstance(value, bytes) and str(got[name]).encode() == value)
        for name, value in given.items()
    )


CUTS = [(100, 0, 0), (100, 1, 1), (2000, 1024, 1), (2000, 1025, 1), (2000, 2000, 1), (2000, 2001, 2), (2000, 4001, 3)]


@pytest.mark.parametrize(("frame_size", "size", "frames"), CUTS)
def test_a_body_is_cut_at_the_frame_size(frame_size, size, frames):
    made = decode(written(encoder(frame_size=frame_size), event(b"x" * size)))

    assert len(made) == 2 + frames
    assert sum(len(piece.value) for _, piece in made[2:]) == size


def test_publishes_follow_each_other_without_a_gap():
    codec = encoder()

    sent = [written(codec, event(body), key) for body, key in ((b"1", "a"), (b"2", "b"), (b"3", "a"))]
    frames = decode(b"".join(sent))

    assert [f.routing_key for _, f in frames if isinstance(f, commands.Basic.Publish)] == ["a", "b", "a"]
    assert [f.value for _, f in frames if isinstance(f, pamqp_body.ContentBody)] == [b"1", b"2", b"3"]


def test_a_users_header_does_not_replace_the_events_id():
    made = event(headers={"evbus-id": "mine"})

    assert first_header(written(encoder(id_header="evbus-id"), made)).properties.headers["evbus-id"] == made.id


def test_each_event_has_its_own_content_type():
    codec = encoder()

    assert first_header(written(codec, event(content_type="a/b"))).properties.content_type == "a/b"
    assert first_header(written(codec, event(content_type="c/d"))).properties.content_type == "c/d"


def test_the_cache_of_routing_keys_is_bounded():
    codec = encoder()

    for n in range(10_050):
        written(codec, event(b""), str(n))

    assert len(codec._methods) <= 10_001


def test_the_properties_of_an_ordinary_message_take_at_most_64_bytes():
    made = event()
    made.id = made.id.partition("-")[0] + "-" + "f" * 12  # after 281 million million events

    (_, _), (_, head), *_ = decode(written(encoder(app_id=""), made))

    assert not head.properties.headers
    assert not head.properties.app_id
    assert len(head.properties.marshal()) <= 64


def test_an_event_s_own_headers_are_the_only_ones_unless_the_profile_wants_its_id_there():
    made = event(headers={"tenant": "blue"})

    assert first_header(written(encoder(), made)).properties.headers == {"tenant": "blue"}
    assert first_header(written(encoder(id_header="id"), made)).properties.headers == {"tenant": "blue", "id": made.id}
    assert first_header(written(encoder(id_header="id"), event())).properties.headers.keys() == {"id"}


SERVICE = {SERVICE_HEADER: "users"}


def publish_of(codec, made):
    (_, method), *_ = decode(written(codec, made, made.routing_key))
    return method


def test_an_event_of_a_service_goes_to_the_exchange_of_that_service():
    codec = encoder(exchange="", exchanges={"users.events"})

    ours, other = publish_of(codec, event(headers=SERVICE)), publish_of(codec, event(headers={"a": 1}))

    assert (ours.exchange, ours.routing_key, ours.mandatory) == ("users.events", "k", False)
    assert (other.exchange, other.routing_key, other.mandatory) == ("", "k", True)
    assert publish_of(codec, event()).exchange == ""


def test_equal_types_of_two_services_go_to_two_exchanges():
    codec = encoder(exchange="", exchanges={"users.events", "shop.events"})

    sent = [publish_of(codec, event(headers={SERVICE_HEADER: name})).exchange for name in ("users", "shop", "users")]

    assert sent == ["users.events", "shop.events", "users.events"]


def test_an_event_of_a_service_goes_to_the_exchange_that_the_profile_names():
    method = publish_of(encoder(exchange="orders"), event(headers=SERVICE))

    assert (method.exchange, method.mandatory) == ("orders", False)


def test_an_event_of_a_service_is_mandatory_only_if_the_profile_says_so():
    assert publish_of(encoder(service_mandatory=True), event(headers=SERVICE)).mandatory is True


def test_the_cache_of_services_is_bounded():
    codec = encoder()

    for n in range(10_050):
        written(codec, event(b"", headers={SERVICE_HEADER: str(n)}))

    assert len(codec._service_methods) <= 10_001


async def test_an_unknown_exchange_leaves_the_channel_as_it_was():
    # Given a channel that has numbered three messages, and a batch whose last event is of an unknown service
    known = set()
    channel, written = confirm_channel()
    batches = Batches(channel, Encoder(1, 131_000, PublishOptions(), known), None)
    sending = [asyncio.create_task(batches.send([event() for _ in range(3)]))]
    await asyncio.sleep(0)
    events = [event(), event(), event(headers=SERVICE)]
    # When it is published
    with pytest.raises(UnknownExchange, match=r"users\.events"):
        await batches.send(events)
    # Then nothing was written or numbered, and it can be published once the exchange is declared
    assert (len(written), channel.confirms.sent, list(channel.confirms.waiting)) == (1, 3, [1, 2, 3])
    known.add("users.events")
    sending.append(asyncio.create_task(batches.send(events)))
    await asyncio.sleep(0)
    assert channel.confirms.sent == 6
    channel.confirms.method(b"\x00\x3c\x00\x50" + (6).to_bytes(8, "big") + b"\x01")
    assert await asyncio.gather(*sending) == [[None] * 3] * 2


def test_an_expiry_and_a_priority_are_properties_and_the_moment_stays_a_header():
    moment = round(time.time() * 1000) + 60_000
    properties = first_header(
        written(encoder(frame_size=1000), event(headers={EXPIRES: moment, PRIORITY: 7, "shop": "north"}))
    ).properties
    assert 0 < int(properties.expiration) <= 60_001  # both clocks are rounded
    assert properties.priority == 7
    assert properties.headers == {EXPIRES: moment, "shop": "north"}
    assert (properties.delivery_mode, properties.message_type, properties.app_id) == (2, None, "app")


@pytest.mark.parametrize(("headers", "expiration"), [({EXPIRES: 1}, "1"), ({EXPIRES: 2**52}, ""), ({PRIORITY: 0}, "")])
def test_what_has_expired_expires_at_once_and_what_rabbitmq_cannot_hold_is_left_to_the_header(headers, expiration):
    properties = first_header(written(encoder(frame_size=1000), event(headers=headers))).properties
    assert (properties.expiration or "") == expiration
    assert properties.headers.keys() == headers.keys() - {PRIORITY}


@pytest.mark.parametrize("value", [-1, 256, True, "5", None])
def test_a_priority_that_a_row_of_a_table_may_hold_and_is_none_is_left_out(value):
    properties = first_header(written(encoder(frame_size=1000), event(headers={PRIORITY: value}))).properties
    assert properties.priority is None
    assert PRIORITY not in properties.headers
