"""Records with whatever bytes, headers and counts: each is handled or dead-lettered, and its offset is settled."""

import asyncio

from aiokafka import TopicPartition
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as some

from evbus_like.engine.handling import Handling
from evbus_like.engine.receiving.received import BodilessEvent
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.hub import decoding
from evbus_like.kafka import dead_letters
from evbus_like.kafka.feed import Feed
from evbus_like.kafka.settings import settings
from evbus_like.kafka.unreadable import UnreadableRecord
from evbus_like.testing import new_hub
from tests.unit.records import record

PLACE = TopicPartition("orders.events", 3)
COUNTS = [b"9223372036854775807", b"-9223372036854775808", b"1" * 400, b"1e999", b"nan", b"\xff" * 8, b""]
NAMES = [
    *("evbus-id", "evbus-routing-key", "content-type", "content-encoding", "evbus-service", "x-delivery-count"),
    *("evbus-dead-attempts", "evbus-dead-reason", "evbus-dead-cut", "evbus-dead-offset", "x-death"),
    *("correlation-id", "causation-id", "traceparent", "tracestate", "nameko.call_id_stack", "nameko.language"),
]
TYPES = [b"application/json", b"application/msgpack", b"application/yaml", b"text/plain", b"a/b; charset=x", b"\xff"]
headers = some.lists(
    some.tuples(
        some.sampled_from(NAMES) | some.text(max_size=20),
        some.none() | some.sampled_from(COUNTS + TYPES) | some.binary(max_size=50),
    ),
    max_size=12,
)
records = some.fixed_dictionaries(
    {
        "key": some.none() | some.binary(max_size=20),
        "value": some.none() | some.binary(max_size=50) | some.sampled_from([b"{", b"null", b"\xc1", b"[" * 2000]),
        "headers": headers,
        "timestamp": some.integers(-(2**63), 2**63 - 1),
        "problem": some.sampled_from(["", "", "the header name b'\\xff' is not UTF-8"]),
    }
)
decode = decoding.decoder(new_hub())


class Letters:
    """Takes dead letters as Kafka would, up to a size."""

    def __init__(self, most):
        self.most = most
        self.taken = []

    async def put(self, topic, record, why):
        for value, key, headers in dead_letters._forms(record, why):
            builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 30)
            assert builder.append(0, 0, key=key, value=value, headers=headers) is not None
            if builder.size() <= self.most:
                self.taken.append(dict(headers))
                return
        raise AssertionError("no form is small enough")


def made(index, fields):
    problem = fields.pop("problem")
    if not problem:
        return record(offset=index, **fields)
    value = fields.pop("value") or b""
    return UnreadableRecord(PLACE.topic, PLACE.partition, index, problem, value, **fields)


async def handle(feed, event, reason):
    """Do what a consumer does: decode and call, or dead-letter with a reason."""
    Handling(event, "shipping.ship")
    assert str(event)
    if isinstance(event, BodilessEvent):
        reason = event.problem or reason
    else:
        try:
            event.body = decode(event)
        except Exception as error:
            reason = f"its body cannot be decoded ({event.content_type}): {error}"
    if reason:
        await feed.dead(event, reason)
    else:
        feed.ack([event])
    return reason


@given(
    given=some.lists(records, max_size=8),
    reason=some.just("") | some.text(max_size=3000) | some.just("\ud800"),
    most=some.integers(6000, 20_000),
)
def test_every_record_is_handled_or_becomes_a_dead_letter_that_fits_and_its_offset_is_settled(given, reason, most):
    async def run():
        feed = Feed(settings({}), Subscription("orders", ("#",), "shipping", "ship"))
        feed.kafka._closed = True
        feed._dead_letters = letters = Letters(most)
        events = feed._events({PLACE: [made(index, dict(fields)) for index, fields in enumerate(given)]})
        assert len(events) == len(given)
        reasons = [await handle(feed, event, reason) for event in events]
        assert len(letters.taken) == sum(map(bool, reasons))
        assert all(letter["evbus-dead-partition"] == b"3" for letter in letters.taken)
        assert feed.offsets.of(PLACE).position == (len(given) or None)
        assert not feed.offsets.of(PLACE).open

    asyncio.run(run())
