"""speedups/: each function in C does what its twin in Python does, and the package works without a compiler."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.produce import ProduceRequest_v8
from hypothesis import given
from hypothesis import strategies as st

from evbus_like import speedups
from evbus_like.engine import values
from evbus_like.engine.event import Event
from evbus_like.kafka import internals, plan, records, unreadable
from evbus_like.kafka.internals import FlatProduceRequest, QuickBuilder, appender
from evbus_like.kafka.plan import Planner
from tests.unit.records import batch

ROOT = Path(__file__).parents[2]
BOTH = pytest.mark.parametrize("finite", [speedups.TWINS["finite"], values.finite], ids=["Python", "fastest"])


def in_pure_python(code):
    """Run code in a process that uses no C; returns what it prints."""
    environment = {**os.environ, "EVBUS_PUREPYTHON": "1"}
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert not ran.returncode, ran.stderr
    return ran.stdout.strip()


def nested(levels, inner, kind):
    for _ in range(levels):
        inner = {"a": inner} if kind is dict else kind((inner,))
    return inner


class Text(str):
    __slots__ = ()


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_where_there_is_a_compiler_the_functions_are_in_c():
    assert speedups.IN_C or os.environ.get("EVBUS_PUREPYTHON")


def test_a_setting_of_the_environment_chooses_the_twins():
    assert in_pure_python("from evbus_like import speedups; print(speedups.IN_C)") == "False"


def test_a_body_has_the_same_bytes_and_the_same_errors_without_c():
    code = """
import pop.hub, json
hub = pop.hub.Hub()
hub.pop.sub.add(dyne_name="serialize")
print(hub.serialize.json.dump({"a": [None, 1.5, {"b": (True,)}]}).decode())
try:
    hub.serialize.json.dump({"a": [None, float("nan")]})
except Exception as error:
    print(error)
"""
    body, error = in_pure_python(code).splitlines()
    assert json.loads(body) == {"a": [None, 1.5, {"b": [True]}]}
    assert error.startswith("body.a[1] is nan")


@BOTH
@pytest.mark.parametrize("kind", [list, tuple, dict])
@pytest.mark.parametrize("inner", [(), 1.5])
def test_what_is_nested_too_deep_is_uncertain(finite, kind, inner):
    most = values.MAX_LEVELS - 1
    assert finite(nested(most, inner, kind))
    assert not finite(nested(most + 1, inner, kind))


@BOTH
@pytest.mark.parametrize("value", [Text("a"), {Text("a"): 1}, [object()], ({1},), bytearray(), b"".join, 1j])
def test_what_is_no_builtin_is_uncertain(finite, value):
    assert not finite(value)


@BOTH
def test_what_holds_itself_is_uncertain(finite):
    body = []
    body.append(body)
    assert not finite(body)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.builds(Text)
bodies = st.recursive(
    scalars | st.frozensets(st.integers()),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.floats(), inner),
)


@given(bodies)
def test_both_find_the_same_bodies_finite(body):
    assert values.finite(body) == speedups.TWINS["finite"](body)


@BOTH
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_infinity_passes_in_a_value_or_a_key(finite, number):
    for body in (number, [number], {"a": (1, [number])}, {number: 1}):
        assert not finite(body)


# ---- record batches of Kafka; the twin is aiokafka's builder

quick = pytest.mark.skipif(speedups.RecordBatch is None, reason="record batches are not built in C here")
field = st.none() | st.binary(max_size=300) | st.sampled_from((63, 64, 8191, 8192)).map(bytes)
headers = st.lists(st.tuples(st.text(st.characters(codec="utf-8"), max_size=70), field), max_size=5)
written = st.lists(st.tuples(st.integers(0, 2**61), field, field, headers), max_size=12)
states = st.tuples(st.integers(-1, 2**63 - 1), st.integers(-1, 2**15 - 1), st.integers(0, 2**31 - 1))


@quick
@given(written, st.sampled_from((1, 100, 1000, 20_000)), states)
def test_a_record_batch_has_the_bytes_of_aiokafka_s_and_is_full_with_the_same_record(written, limit, state):
    ours, theirs = QuickBuilder(limit), BatchBuilder(limit, 0)
    for record in written:
        took = [append(*record) is not None for append in (appender(ours), appender(theirs))]
        assert took[0] == took[1]
        assert (ours.size(), ours.record_count()) == (theirs.size(), theirs.record_count())
        if not took[0]:
            break
    for each in (ours, theirs):
        each._set_producer_state(*state)
    assert bytes(ours._build()) == bytes(theirs._build())
    assert ours.size() == theirs.size()


@quick
@pytest.mark.parametrize(
    "record",
    [
        (1.5, b"k", b"v", []),
        (None, b"k", b"v", []),
        (2**63, b"k", b"v", []),
        (1, "k", b"v", []),
        (1, b"k", bytearray(b"v"), []),
        (1, b"k", b"v", ()),
        (1, b"k", b"v", [("a", "text")]),
        (1, b"k", b"v", [(b"a", b"v")]),
        (1, b"k", b"v", [("a",)]),
        (1, b"k", b"v", ["ab"]),
        (1, b"k", b"v", [("\ud800", b"v")]),
        (1, b"k", b"v"),
    ],
)
def test_what_is_no_record_is_an_error_and_leaves_the_batch_as_it_was(record):
    batch = QuickBuilder(1000)
    batch.append_record(1, b"k", b"v", [])
    with pytest.raises((TypeError, ValueError, OverflowError)):
        batch.append_record(*record)
    other = BatchBuilder(1000, 0)
    other.append(timestamp=1, key=b"k", value=b"v", headers=[])
    assert bytes(batch._build()) == bytes(other._build())


KNOWN = st.sampled_from(("evbus-routing-key", "evbus-id", "content-type", "tenant"))
values_of = (
    st.none() | st.binary(max_size=8) | st.text(max_size=9).map(str.encode) | st.sampled_from((255, 256)).map(bytes)
)
received = st.lists(st.tuples(KNOWN | st.text(max_size=5), values_of), max_size=20)
in_c = pytest.mark.skipif(not speedups.IN_C, reason="nothing is built in C here")
PLACE = ("orders", 3, 100, 1000)  # topic, partition, offset and time of a batch


def fields_in_c(headers):
    """Give the fields of a record that was read in C."""
    (record,), _ = reads(batch({"headers": headers}))[-1]
    assert record.headers == headers
    return record.fields()


def reads(raw, most=9, log_time=-1):
    """Read the records of a batch with the twin, and in C."""
    given = raw, unreadable.BATCH.size, len(raw), most, *PLACE, log_time
    return [each(*given) for each in (speedups.TWINS["read"], unreadable.read)]


def as_rows(found):
    """Give what was read as plain values."""
    return [tuple(getattr(each, name) for name in unreadable.Record._fields) for each in found[0]], found[1]


FIELDS = pytest.mark.parametrize(
    "fields", [pytest.param(records.fields, id="Python"), pytest.param(fields_in_c, id="C", marks=in_c)]
)


@in_c
@given(received)
def test_both_read_the_same_fields_from_headers(headers):
    assert fields_in_c(headers) == records.fields(headers)


@FIELDS
def test_the_fields_of_an_event_are_taken_from_its_headers(fields):
    headers = [("tenant", "é".encode()), ("evbus-id", b"7"), ("evbus-routing-key", b"created")]
    assert fields(headers) == ("created", "7", "", {"tenant": "é"})
    assert fields([]) == ("", "", "", {})


@FIELDS
@pytest.mark.parametrize(
    "headers",
    [
        [("a", None)],
        [("a", b"\xff")],
        [("a", b"1"), ("a", b"2")],
        [("evbus-id", b"1"), ("evbus-id", b"1")],
        [("evbus-id", b"x" * 256)],
    ],
    ids=["null", "not UTF-8", "repeated", "two ids", "long"],
)
def test_unusual_headers_are_left_to_the_slower_way(fields, headers):
    assert fields(headers) is None


rows = st.fixed_dictionaries({"key": field, "value": field, "headers": headers, "timestamp": st.integers(0, 2**60)})


@given(st.lists(rows, min_size=1, max_size=6), st.sampled_from((1, 3, 9)), st.sampled_from((-1, 77)))
def test_both_read_the_same_records(given_rows, most, log_time):
    twin, ours = reads(batch(*given_rows), most, log_time)
    assert as_rows(twin) == as_rows(ours)
    assert len(twin[0]) == min(most, len(given_rows))
    first = twin[0][0]
    assert (first.topic, first.partition, first.offset) == PLACE[:3]
    assert first.timestamp == (1000 if log_time < 0 else 77)
    assert (first.key, first.value, first.headers) == tuple(given_rows[0][name] for name in ("key", "value", "headers"))


@given(
    st.lists(rows, min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=3))),
)
def test_both_end_before_the_same_damaged_record(given_rows, damages):
    raw = bytearray(batch(*given_rows))
    for at, damage in damages:
        at = 61 + at % (len(raw) - 61)
        raw[at : at + len(damage)] = damage
    twin, ours = reads(bytes(raw))
    assert as_rows(twin) == as_rows(ours)


@given(st.binary(max_size=200))
def test_both_read_the_same_from_any_bytes(data):
    twin, ours = reads(bytes(61) + data)
    assert as_rows(twin) == as_rows(ours)


@in_c
def test_a_place_outside_of_the_bytes_is_an_error():
    for at, end in ((-1, 5), (3, 2), (0, 6)):
        with pytest.raises(ValueError, match="no such bytes"):
            unreadable.read(b"12345", at, end, 1, *PLACE, -1)


# ---- the records of events that are alike; the twin is the loop of kafka/plan.py

events = st.lists(
    st.builds(
        lambda id, body, alike, time: (id, body, *alike, time),
        st.text(st.characters(codec="utf-8"), max_size=9),
        st.binary(max_size=60),
        st.sampled_from(
            [
                ("created", None, "application/json", None),
                ("created", None, "application/json", None),
                ("created", "k", "application/json", None),
                ("changed", None, "application/json", None),
                ("created", None, "text/plain", None),
                ("created", None, "application/json", {"tenant": "red"}),
            ]
        ),
        st.sampled_from((1.0, 1.001, 1700000000.123)),
    ),
    max_size=25,
)


def made(id, body, routing_key, key, content_type, headers, time):
    """Make an event as the lane has it."""
    event = Event(routing_key, body, "default", headers, key)
    event.id, event.content_type, event.timestamp = id, content_type, time
    return event


def laid_out(given_events, most):
    """Give the positions and the bytes of each batch."""
    planner = Planner({"topics": "orders"})
    planner.rules.of = planner.rules.now = lambda topic: SimpleNamespace(max_bytes=None, needs_key=False)
    if most:
        planner.limit("orders", most)
    accumulator = SimpleNamespace(_batch_size=300, _compression_type=0)
    producer = object.__new__(AIOKafkaProducer)
    producer._message_accumulator, producer._closed = accumulator, True
    producer.client = SimpleNamespace(cluster=SimpleNamespace(leader_for_partition=lambda place: 1))
    layout = planner.lay_out(producer, given_events, {"orders": [0, 1, 2]})
    assert not any(layout.outcomes)
    return {
        place: [(each.positions, bytes(each.builder._build())) for each in stack.batches]
        for place, stack in layout.batches.items()
    }


@quick
@given(events, st.sampled_from((0, 0, 1, 3)))
def test_records_of_many_events_at_once_are_those_of_one_after_the_other(given_events, most):
    given_events = [made(*each) for each in given_events]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan.leaders, "known", lambda cluster, where: True)
        at_once = laid_out(given_events, most)
        patch.setattr(internals, "extender", lambda builder: None)
        assert laid_out(given_events, most) == at_once


@quick
def test_what_is_no_list_of_events_is_an_error_and_an_odd_event_ends_what_is_taken_at_once():
    batch = speedups.RecordBatch(1000)
    fine, odd = made("1", b"{}", "r", None, "t", None, 1.0), made("2", b"{}", "r", None, "t", None, 1.0)
    for given_arguments in ((fine, 0, 1, None), ([fine], "0", 1, None), ([fine], 0, 1, "key"), ([fine], 0, 1)):
        with pytest.raises(TypeError):
            batch.extend(*given_arguments)
    assert batch.extend([object()], 0, 1, None) == 0
    for name, value in (("id", b"2"), ("body", "{}"), ("timestamp", 1), ("content_type", None), ("headers", {})):
        before = getattr(odd, name)
        setattr(odd, name, value)
        assert batch.extend([fine, odd, fine], 0, 3, b"k") == 1
        setattr(odd, name, before)
    assert batch.extend([fine], 1, 5, None) == batch.extend([fine], -1, 5, None) == 0


# ---- numbers

NUMBERS = st.sampled_from(
    ("1" * 18, "1" * 19, "1" * 25, "e-9", "1e-99", "1e-100", "1E-1000", "-", "e", ",", "x", "0.5")
)


@given(st.lists(NUMBERS | st.text(max_size=3)).map("".join).map(lambda text: text.encode(errors="replace")))
def test_both_find_the_same_odd_numbers(data):
    assert values.has_odd_number(data) == speedups.TWINS["has_odd_number"](data)


@pytest.mark.parametrize("topics", [[], [("a", [(0, b"records")]), ("bé", [(1, bytearray(9)), (2, b"")])]])
@pytest.mark.parametrize("transaction", [None, "id"])
def test_a_request_has_the_bytes_of_aiokafka_s(topics, transaction):
    given = transaction, -1, 20_000, topics
    assert FlatProduceRequest(*given).encode() == ProduceRequest_v8(*given).encode()


@quick
def test_a_batch_that_was_built_takes_no_record_and_keeps_its_bytes():
    batch = QuickBuilder(1000)
    batch.append_record(1, b"k", b"v", [])
    assert not batch.closed()
    assert batch._build() is batch._build()
    assert batch.closed()
    with pytest.raises(ValueError, match="built already"):
        batch.append_record(1, b"k", b"v", [])
