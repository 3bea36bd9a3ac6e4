"""Records of other programs on a real Kafka: unreadable ones, tombstones, repeated headers, too large dead letters."""

import gzip
import struct

import pytest

from evbus_like.engine.receiving.rules import REJECT
from evbus_like.kafka import dead_letters
from evbus_like.testing import eventually
from tests.integration.raw_records import publish_raw
from tests.integration.records import wait_until_committed
from tests.integration.sources import handler, receiving, stats_of
from tests.integration.support import create_topic, read

TYPE = ("evbus-routing-key", b"created")
JSON = ("content-type", b"application/json")


def profiles(kafka, **options):
    return {"kafka": {"default": {"connection": {"bootstrap_servers": kafka.bootstrap}, **options}}}


async def handled(kafka, name, records, change=lambda raw: raw, codec=None, fail=False, dead=0):
    """Give the events that a handler gets of one batch of records, and the dead letters of the others."""
    topic, queue, events = f"{name}.events", f"evt-{name}-created--shipping.take", []
    await create_topic(kafka.bootstrap, topic, partitions=1)

    async def take(event):
        events.append(event)
        if fail:
            raise ValueError("broken")

    async with receiving(profiles(kafka), handler(take, name, on_error=REJECT)) as group:
        await publish_raw(kafka.bootstrap, topic, records, change, codec)
        await wait_until_committed(kafka.bootstrap, topic, queue, len(records))
        await eventually(lambda: stats_of(group)["dead"] == dead)
    letters = await read(kafka.bootstrap, dead_letters.topic_name(queue + ".dead"), dead) if dead else []
    return events, letters


@pytest.mark.parametrize("codec", [None, "gzip"])
async def test_a_header_name_that_is_not_utf_8_is_a_dead_letter_and_its_neighbours_are_handled(
    kafka, fresh_name, caplog, codec
):
    records = [(b"k", b"%d" % number, [TYPE, JSON]) for number in range(5)]
    records[2] = (b"k", b"2", [TYPE, ("XX", b"1"), JSON])

    def change(raw):
        if codec is None:
            return raw.replace(b"XX", b"\xff\xfe")
        content = gzip.compress(gzip.decompress(raw[61:]).replace(b"XX", b"\xff\xfe"))
        return raw[:8] + struct.pack(">i", 49 + len(content)) + raw[12:61] + content

    events, (letter,) = await handled(kafka, fresh_name, records, change, codec, dead=1)
    assert [event.body for event in events] == [0, 1, 3, 4]
    why = dict(letter.headers)
    assert (letter.key, letter.value, why["\\xff\\xfe"]) == (b"k", b"2", b"1")
    where = f"topic '{fresh_name}.events', partition 0, offset 2"
    assert where in why["evbus-dead-reason"].decode()
    assert where in caplog.text
    assert why["evbus-dead-offset"] == b"2"


MAX = 1_048_588  # Kafka's default max.message.bytes


@pytest.mark.parametrize(
    ("key", "value", "headers", "cut"),
    [
        (b"k", b"{" * (MAX - 300), [], f"body {MAX - 300} -> {(MAX - 300) // 2}"),
        (
            b"k",
            b"{",
            [(f"h{number}", b"x" * 1000) for number in range(1000)] + [("r", b"y" * 41_300)],
            "headers 1001",
        ),
        (b"k" * (MAX - 300), b"{", [], f"body 1 -> 0; key {MAX - 300} -> 0"),
        (b"k" * 600_000, b"{" * 448_300, [], "body 448300 -> 224150"),
    ],
)
async def test_the_dead_letter_of_a_record_that_fills_its_topic_fits_in_a_smaller_form(
    kafka, fresh_name, key, value, headers, cut
):
    bad, good = (key, value, [TYPE, JSON, *headers]), (b"k", b"1", [TYPE, JSON])
    events, (letter,) = await handled(kafka, fresh_name, [bad], dead=1)
    why = dict(letter.headers)
    assert why["evbus-dead-cut"].decode() == cut
    assert b"cannot be decoded" in why["evbus-dead-reason"]
    assert (why["evbus-dead-topic"], why["evbus-dead-offset"]) == (f"{fresh_name}.events".encode(), b"0")
    assert why["evbus-routing-key"] == b"created"
    events, _ = await handled(kafka, fresh_name + "-2", [good])
    assert [event.body for event in events] == [1]


@pytest.mark.parametrize("content_type", [b"application/json", b"application/msgpack", b"application/x-yaml", b"a/b"])
async def test_a_tombstone_has_the_body_none_whatever_its_content_type(kafka, fresh_name, content_type):
    records = [(b"k", None, [TYPE, ("content-type", content_type)]), (b"k", b"", [TYPE])]
    (event, empty), _ = await handled(kafka, fresh_name, records)
    assert (event.body, event.raw) == (None, b"")
    assert empty.body == b""


async def test_a_tombstone_that_is_given_up_is_a_tombstone_among_the_dead_letters(kafka, fresh_name):
    _, (letter,) = await handled(kafka, fresh_name, [(b"k", None, [TYPE, JSON])], fail=True, dead=1)
    assert (letter.key, letter.value) == (b"k", None)


async def test_repeated_headers_are_all_kept_in_their_order(kafka, fresh_name):
    headers = [TYPE, ("trace", b"1"), ("once", b"x"), ("trace", b"\xff"), ("trace", None), JSON]
    (event,), (letter,) = await handled(kafka, fresh_name, [(b"k", b"1", headers)], fail=True, dead=1)
    assert event.headers == {"trace": ["1", b"\xff", None], "once": "x"}
    assert list(letter.headers[: len(headers)]) == headers
