"""amqp/copies.py: whatever a message holds, its copy fits into a frame and has nothing that RabbitMQ refuses."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, encode

from evbus_like.amqp import copies
from evbus_like.amqp.deliveries import Delivery, decode
from evbus_like.amqp.properties import Properties
from evbus_like.engine.receiving.subscription import Subscription

SUBSCRIPTION = Subscription("orders", ("placed",), "shipping", "ship")
ALL = {
    "content_type": "application/json",
    "content_encoding": "utf-8",
    "headers": {"a": 1, "b": [1, "x"]},
    "delivery_mode": 1,
    "priority": 5,
    "correlation_id": "corr",
    "reply_to": "reply",
    "expiration": "60000",
    "message_id": "id",
    "timestamp": datetime(2026, 7, 1, tzinfo=UTC),
    "message_type": "kind",
    "user_id": "guest",
    "app_id": "app",
    "cluster_id": "",
}


def received(body=b"body", routing_key="placed", properties=None, redelivered=False, **given):
    """Return the event of a message with these properties."""
    raw = properties if properties is not None else commands.Basic.Properties(**given).marshal()
    return decode(Delivery(1, redelivered, "orders.events", routing_key, raw, body), SUBSCRIPTION)


def letter(event, room=131_064, reason="why", form=0):
    """Return the properties and the body of a dead letter, in one of its forms."""
    properties, body = copies.for_dead_letter(event, SUBSCRIPTION.queue, reason)[form](room)
    return Properties(properties), body


def retried(event, room=131_064, form=0):
    """Return the properties and the body of a copy for a retry."""
    properties, body = copies.for_retry(event)[form](room)
    return Properties(properties), body


def test_a_copy_differs_only_in_headers_persistence_expiration_and_user_id():
    copy, body = letter(received(**ALL))
    again = commands.Basic.Properties()
    again.unmarshal(int.from_bytes(copy.raw[:2], "big"), copy.raw[2:])
    headers = {**ALL["headers"], **{name: value for name, value in copy.headers.items() if "evbus-dead" in name}}
    expected = {**ALL, "headers": headers, "delivery_mode": 2, "expiration": None, "user_id": None}
    assert {name: getattr(again, name) for name in ALL} == expected
    assert len(headers) == 8
    assert body == b"body"


def test_our_headers_replace_those_of_the_same_name_and_routing_headers_are_not_copied():
    event = received(headers={"evbus-dead-reason": "old", "CC": ["x"], "BCC": ["y"], "x-death": [], "b": 2})
    copy, _ = letter(event)
    assert copy.headers["evbus-dead-reason"] == "why"
    assert {"CC", "BCC", "x-death"}.isdisjoint(copy.headers)
    assert copy.headers["b"] == 2
    assert copy.raw.count(b"evbus-dead-reason") == 1


def test_headers_that_fill_a_frame_are_kept_whole_and_ours_are_shortened():
    event = received(headers={"full": "x" * 130_800})
    copy, body = letter(event, reason="r" * 900)
    assert len(copy.headers["full"]) == 130_800
    assert len(copy.headers["evbus-dead-reason"]) == 200
    assert "evbus-dead-cut" not in copy.headers
    assert body == b"body"


def test_headers_that_leave_no_room_are_cut_the_largest_first_and_the_letter_says_so():
    event = received(headers={"full": "x" * 131_000, "small": "y"})
    copy, body = letter(event)
    assert (copy.headers["evbus-dead-cut"], copy.headers["small"], body) == ("headers 1", "y", b"body")
    assert "full" not in copy.headers
    assert copy.headers["evbus-dead-queue"] == SUBSCRIPTION.queue
    copy, body = retried(event)
    assert (copy.headers["evbus-cut"], copy.headers["evbus-attempt"], body) == ("headers 1", 2, b"body")


def test_the_last_form_of_a_dead_letter_has_no_body_and_says_how_long_it_was():
    copy, body = letter(received(b"x" * 1000, **ALL), form=-1)
    assert body == b""
    assert copy.headers == {"evbus-dead-reason": "why", "evbus-dead-cut": "body 1000 -> 0; headers 2; other properties"}
    assert copy.text(1 << 7) == "id"


def test_tables_that_are_nested_more_deeply_than_we_read_are_copied():
    deep = 1
    for _ in range(60):
        deep = [deep]
    event = received(headers={"deep": deep, "behind": 1})
    assert event.headers == {"behind": 1}
    assert retried(event)[0].headers == {"evbus-attempt": 2, "evbus-routing-key": "placed", "behind": 1}
    copy, _ = letter(event)
    assert encode.field_table({"deep": deep})[4:] in copy.raw
    assert "evbus-dead-cut" not in copy.headers


def test_a_copy_has_no_address_that_only_the_callers_own_channel_may_use():
    copy, _ = letter(received(reply_to="amq.rabbitmq.reply-to"))
    assert copy.text(1 << 9) == ""


@pytest.mark.parametrize("count", [2**63 - 1, -(2**63), "7", {"a": 1}, None, True, [1]])
@pytest.mark.parametrize("name", ["x-delivery-count", "evbus-attempt"])
def test_a_count_is_believed_within_bounds(name, count):
    raw = commands.Basic.Properties(headers={name: count}).marshal()
    event = decode(Delivery(1, True, "", SUBSCRIPTION.queue, raw, b"{"), SUBSCRIPTION)
    assert 1 <= event.attempt <= 2_000_000_000
    letter(event)
    copy, _ = retried(event)
    assert 2 <= copy.headers["evbus-attempt"] <= 2_000_000_001


def test_a_sender_cannot_count_deliveries():
    assert received(headers={"x-delivery-count": 7}).attempt == 1
    assert received(headers={"x-delivery-count": 7}, redelivered=True).attempt == 8


def test_a_reason_that_is_not_valid_text_is_escaped():
    assert letter(received(), reason="\udc80")[0].headers["evbus-dead-reason"] == "\\udc80"


HEADERS = st.dictionaries(
    st.text(max_size=60),
    st.one_of(st.text(max_size=2000), st.binary(max_size=2000), st.integers(-(2**63), 2**63 - 1), st.lists(st.text())),
    max_size=8,
)
SHORT = st.binary(max_size=255)


@st.composite
def anything(draw):
    """Properties as their flags, with any bytes in each; sometimes any bytes at all."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=300))
    parts, flags = b"", 0
    for flag in (1 << bit for bit in range(15, 1, -1)):
        if not draw(st.booleans()):
            continue
        flags |= flag
        if flag == 1 << 13:
            try:
                parts += encode.field_table(draw(HEADERS))
            except Exception:
                parts += b"\x00\x00\x00\x00"
        elif flag in (1 << 12, 1 << 11):
            parts += draw(st.binary(min_size=1, max_size=1))
        elif flag == 1 << 6:
            parts += draw(st.binary(min_size=8, max_size=8))
        else:
            text = draw(SHORT)
            parts += bytes([len(text)]) + text
    return flags.to_bytes(2, "big") + parts


@given(
    anything(), st.sampled_from([4088, 8184, 131_064]), st.binary(max_size=300), st.text(max_size=1200), st.booleans()
)
def test_whatever_a_message_holds_each_copy_has_a_form_that_fits_and_the_last_one_always_does(
    raw, room, body, reason, redelivered
):
    event = received(body, "k" * 255, raw, redelivered)
    for forms, whole in ((copies.for_dead_letter(event, "q" * 255, reason), -1), (copies.for_retry(event), None)):
        for form in forms:
            try:
                made, copied = form(room)
            except ValueError:
                assert form is not forms[-1]
                continue
            read = Properties(made)
            assert len(made) + 12 <= room
            assert not set(read.parts) & {1 << 8, 1 << 4}  # expiration, user id
            assert {"CC", "BCC"}.isdisjoint(name for name, _ in read.entries())
            assert copied == (b"" if whole == -1 and form is forms[-1] else body)
            assert ("evbus-dead-reason" in read.headers) == (whole == -1) or "evbus-attempt" in read.headers
