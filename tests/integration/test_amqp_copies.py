"""Copies that RabbitMQ must take, whatever the message holds that they are made of."""

import asyncio

import aiormq
import pytest
from pamqp import encode

from evbus_like.handlers import REJECT
from evbus_like.testing import eventually
from tests.integration.receiving import RecordingHandler, handle, receiving
from tests.integration.support import channel, setting
from tests.integration.test_amqp_source import publishing, send_raw
from tests.integration.test_amqp_source_failing import fail, letters


@pytest.fixture
def profile(rabbitmq):
    return {"connection": {"url": rabbitmq.url}}


def filling(size):
    """Return the raw properties of a message with one header of this size."""
    return (
        (0b1010_0000_0000_0000).to_bytes(2, "big") + b"\x10application/json" + encode.field_table({"full": "x" * size})
    )


async def bound(rabbitmq, name, opened):
    """Declare the queue of the handler before it runs."""
    queue = await opened.declare_queue(f"evt-{name}-placed--shipping.ship", durable=True)
    exchange = await opened.declare_exchange(f"{name}.events", "topic", durable=True)
    await queue.bind(exchange, "placed")


@pytest.mark.parametrize("size", [130_000, 130_700, 131_000])
async def test_events_whose_headers_fill_a_frame_are_retried_and_dead_lettered_and_others_are_handled(
    rabbitmq, profile, fresh_name, size
):
    seen = RecordingHandler(lambda event: fail(event) if event.body != "good" else None)
    handler = handle(seen, fresh_name, "placed", attempts=2, backoff=0.1, max_workers=10)
    async with receiving(profile, handler) as worker, channel(rabbitmq.url) as opened:
        plain = await opened.get_underlay_channel()
        for body in (b"1", b"{"):  # the handler fails; it cannot be decoded
            for _ in range(10):
                await send_raw(plain, f"{fresh_name}.events", "placed", filling(size), body)
        await send_raw(plain, f"{fresh_name}.events", "placed", filling(10), b'"good"')
        await eventually(lambda: worker.stats().dead == 20)
        await eventually(lambda: "good" in seen.bodies)
        assert worker.stats().lost == 0
        assert len(seen.events) == 21
    found = await letters(rabbitmq, f"evt-{fresh_name}-placed--shipping.ship.dead", 20)
    for letter in found:
        whole = len(letter.headers.get("full", "")) == size
        assert whole or "headers 1" in (letter.headers.get("evbus-dead-cut"), letter.headers.get("evbus-cut"))
        assert letter.headers["evbus-dead-reason"]


@pytest.mark.parametrize("frame", [4096, 8192])
async def test_messages_from_before_frames_were_made_smaller_are_retried_and_dead_lettered(
    rabbitmq, profile, fresh_name, frame
):
    seen = RecordingHandler(fail)
    handler = handle(seen, fresh_name, "placed", attempts=2, backoff=0.1)
    async with channel(rabbitmq.url) as opened:
        await bound(rabbitmq, fresh_name, opened)
        plain = await opened.get_underlay_channel()
        for size in (10, 3_300, 3_900, 7_900, 60_000):
            await send_raw(plain, f"{fresh_name}.events", "placed", filling(size), b'"' + b"x" * 20_000 + b'"')
        await asyncio.sleep(0.2)
        with setting(rabbitmq, "frame_max", frame):
            async with receiving(profile, handler) as worker:
                await eventually(lambda: worker.stats().dead == 5)
                assert (worker.stats().lost, len(seen.events)) == (0, 10)
    found = await letters(rabbitmq, f"evt-{fresh_name}-placed--shipping.ship.dead", 5)
    assert {len(letter.body) for letter in found} == {20_002}
    cut = [letter for letter in found if "evbus-dead-cut" in letter.headers or "evbus-cut" in letter.headers]
    assert len(cut) == (4 if frame == 4096 else 2)


async def test_every_property_that_may_be_sent_may_be_in_what_is_copied(rabbitmq, profile, fresh_name):
    handler = handle(RecordingHandler(fail), fresh_name, "placed", attempts=2, backoff=0.1)
    long = b"\xff" * 255
    count = 0
    async with receiving(profile, handler) as worker, channel(rabbitmq.url) as opened:
        plain = await opened.get_underlay_channel()

        async def send(flags, *parts):
            nonlocal count
            count += 1
            raw = sum(1 << bit for bit in flags).to_bytes(2, "big") + b"".join(parts)
            await send_raw(plain, f"{fresh_name}.events", "placed", raw, b"1")

        for bit in (15, 14, 10, 9, 7, 5, 3, 2):  # the short strings
            await send([bit], bytes([255]) + long)
        await send([12, 11], b"\x01", b"\xff")  # not persistent, priority 255; RabbitMQ refuses other delivery modes
        await send([6], b"\xff" * 8)  # a moment that no calendar has
        await send([4], b"\x05guest")
        await send([8], b"\x053600000"[:6])
        await send([8], b"\x073600000")
        await send([15, 14, 10, 9, 7, 5, 3, 2], *[bytes([255]) + long] * 8)
        await eventually(lambda: worker.stats().dead == count)
        assert worker.stats().lost == 0


async def test_a_count_of_deliveries_beyond_all_bounds_stops_no_handler(rabbitmq, profile, fresh_name):
    handler = handle(RecordingHandler(fail), fresh_name, "placed", attempts=2, backoff=0.1)
    queue = f"evt-{fresh_name}-placed--shipping.ship"
    async with receiving(profile, handler) as worker, publishing(rabbitmq.url, fresh_name) as publish:
        for name in ("x-delivery-count", "evbus-attempt"):
            for count in (2**63 - 1, -(2**63), "many", {"a": {"b": 1}}):
                await publish("placed", b"{", headers={name: count})
                await publish("placed", 1, headers={name: count})
        async with channel(rabbitmq.url) as opened:
            message = aiormq.spec.Basic.Properties(headers={"evbus-attempt": 2**63 - 1})
            plain = await opened.get_underlay_channel()
            await send_raw(plain, "", queue, message.marshal(), b"1")
            await eventually(lambda: worker.stats().dead == 17)


async def test_a_body_that_is_larger_than_rabbitmq_takes_by_now_is_cut_in_its_dead_letter(
    rabbitmq, profile, fresh_name
):
    lowered = asyncio.Event()

    async def fail_later(event):
        await lowered.wait()
        fail(event)

    handler = handle(RecordingHandler(fail_later), fresh_name, "placed", attempts=2, backoff=0.1)
    rejecting = handle(RecordingHandler(fail), fresh_name, "small", name="small", on_error=REJECT, max_workers=20)
    async with publishing(rabbitmq.url, fresh_name) as publish, receiving(profile, handler, rejecting) as worker:
        await publish("placed", b"x" * 20_000, content_type="text/plain")
        with setting(rabbitmq, "max_message_size", 1000):
            lowered.set()
            for number in range(20):
                await publish("small", number)
            await eventually(lambda: worker.stats(0).dead + worker.stats(0).retried == 1)
            await eventually(lambda: worker.stats(1).dead == 20)
    (letter,) = await letters(rabbitmq, f"evt-{fresh_name}-placed--shipping.ship.dead", 1)
    assert letter.body == b""
    assert letter.headers["evbus-dead-cut"] == "body 20000 -> 0; other properties"
    assert "cannot be retried" in letter.headers["evbus-dead-reason"]
    small = await letters(rabbitmq, f"evt-{fresh_name}-small--shipping.small.dead", 20)
    assert not any("evbus-dead-cut" in letter.headers for letter in small)
