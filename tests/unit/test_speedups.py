"""speedups/: each function in C does what its twin in Python does, and the package works without a compiler."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.produce import ProduceRequest_v8
from hypothesis import given
from hypothesis import strategies as st

from evbus_like import speedups
from evbus_like.engine import values
from evbus_like.kafka import records
from evbus_like.kafka.internals import FlatProduceRequest, QuickBuilder, appender

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
received = st.lists(st.tuples(KNOWN | st.text(max_size=5), values_of), max_size=6)
FIELDS = pytest.mark.parametrize("fields", [speedups.TWINS["fields"], records.fields], ids=["Python", "fastest"])


@given(received)
def test_both_read_the_same_fields_from_headers(headers):
    assert records.fields(headers) == speedups.TWINS["fields"](headers)


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
        (),
    ],
    ids=["null", "not UTF-8", "repeated", "two ids", "long", "no list"],
)
def test_unusual_headers_are_left_to_the_slower_way(fields, headers):
    assert fields(headers) is None


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
