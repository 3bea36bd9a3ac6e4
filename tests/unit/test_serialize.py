"""serialize/: what dump accepts, load gives back in its plain form; the rest is an error that says where."""

import dataclasses
import datetime
import decimal
import enum
import math
import uuid
from collections import namedtuple
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evbus_like.engine import values
from evbus_like.engine.errors import SerializeError
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.hub import decoding
from evbus_like.serialize import (
    json_serialize,
    msgpack_serialize,
    pop_json_serialize,
    str_serialize,
    yaml_serialize,
)
from tests.unit.fakes import same

FORMATS = {"json": (json_serialize, False), "msgpack": (msgpack_serialize, True), "yaml": (yaml_serialize, True)}


class Colour(enum.Enum):
    RED = "red"
    ONE = 1


class Level(enum.IntEnum):
    ONE = 1


class Text(str):
    pass


class Record(dict):
    def __to_bus__(self):
        return {"hook": True}


class Label(str):
    def __to_bus__(self):
        return "hooked"


@dataclasses.dataclass
class Item:
    price: object


Point = namedtuple("Point", "x y")


class Hooked:
    def __init__(self, value):
        self.value = value

    def __to_bus__(self):
        return self.value


@pytest.fixture(params=FORMATS)
def name(request):
    return request.param


scalars: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.binary().map(bytearray)
    | st.binary().map(lambda data: memoryview(data))
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.dates()
    | st.times()
    | st.decimals()
    | st.uuids()
    | st.sampled_from(
        [*Colour, *Level, Text("t"), "<<", "=", "*", "1:30", "0o7", "yes", "~", "\x85", "\ufeff", "\ud800"]
    )
)
keys = (
    st.text(st.characters(), max_size=3)
    | st.integers(-3, 3)
    | st.booleans()
    | st.none()
    | st.floats()
    | st.sampled_from(["1", "true", "null", b"1", Colour.RED, Colour.ONE, Level.ONE, Text("1"), decimal.Decimal(1)])
    | st.tuples(st.integers(0, 1))
    | st.frozensets(st.integers(0, 1), max_size=1)
    | st.dates()
)
bodies = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner)
        | st.dictionaries(keys, inner, max_size=4)
        | st.builds(Item, inner)
        | st.builds(Point, inner, inner)
        | st.builds(Hooked, inner)
        | st.sets(st.integers() | st.text(max_size=2), max_size=3)
        | st.frozensets(st.uuids(), max_size=2)
    ),
    max_leaves=12,
)


@settings(max_examples=4 * settings().max_examples)
@given(body=bodies)
@pytest.mark.parametrize("format_", FORMATS)
def test_a_body_comes_back_in_its_plain_form_or_is_refused_with_the_place(format_, body):
    plugin, native = FORMATS[format_]
    expected = outcome(values.plain, body, native)
    dumped = outcome(plugin.dump, None, body)

    if isinstance(expected, SerializeError):
        assert isinstance(dumped, SerializeError), f"took what has no form: {expected}"
        assert dumped.path == expected.path
    else:
        assert same(plugin.load(None, dumped), expected)


def outcome(function, *args):
    """What a function gives, or the error that says why not."""
    try:
        return function(*args)
    except SerializeError as error:
        return error


@given(
    body=st.recursive(
        st.text(st.characters(exclude_categories=["Cs"])),
        lambda x: st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), x, max_size=3),
        max_leaves=5,
    )
)
@pytest.mark.parametrize("format_", FORMATS)
def test_any_unicode_text_survives(format_, body):
    plugin, _ = FORMATS[format_]

    assert plugin.load(None, plugin.dump(None, body)) == body


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_json_never_turns_a_nan_into_null(number):
    for body in (
        number,
        [number],
        {"a": number},
        {"a": None, "b": [number]},
        Item(number),
        Hooked([number]),
        (number,),
    ):
        with pytest.raises(SerializeError):
            json_serialize.dump(None, body)


def test_json_keeps_a_null():
    assert json_serialize.dump(None, {"a": None, "b": "null"}) == b'{"a":null,"b":"null"}'


def test_msgpack_refuses_two_keys_that_become_one():
    for body in (
        {Colour.ONE: "a", 1: "b"},
        {decimal.Decimal(1): "a", "1": "b"},
        {Text("a"): 1, Colour.RED: 2, "red": 3},
    ):
        with pytest.raises(SerializeError, match="two keys"):
            msgpack_serialize.dump(None, body)


@pytest.mark.parametrize("key", [(1, 2), frozenset({1}), Point(1, 2)], ids=repr)
def test_a_key_that_no_reader_could_load_is_refused(name, key):
    with pytest.raises(SerializeError, match="has a key of type"):
        FORMATS[name][0].dump(None, {key: 1})


@pytest.mark.parametrize("body", [msgpack.ExtType(5, b"x"), msgpack.Timestamp(1)], ids=["ExtType", "Timestamp"])
def test_msgpack_never_writes_an_extension_type(body):
    try:
        dumped = msgpack_serialize.dump(None, [body])
    except SerializeError:
        return

    assert same(msgpack_serialize.load(None, dumped), values.plain([body], True))


@pytest.mark.parametrize("body", [Record(a=1), Label("x")], ids=["dict", "str"])
def test_a_conversion_hook_is_called_on_a_subclass_of_a_builtin_too(name, body):
    plugin, native = FORMATS[name]

    assert plugin.load(None, plugin.dump(None, [body])) == values.plain([body], native)


def nested(levels, wrap):
    body = 0
    for _ in range(levels):
        body = wrap(body)
    return body


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: {"a": x}], ids=["list", "dict"])
def test_a_body_of_the_greatest_allowed_depth_comes_back(name, wrap):
    plugin, _ = FORMATS[name]
    body = nested(values.MAX_DEPTH, wrap)

    assert plugin.load(None, plugin.dump(None, body)) == body


@pytest.mark.parametrize("levels", [values.MAX_DEPTH + 1, 300, 400, 100_000])
@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: {"a": x}], ids=["list", "dict"])
def test_a_body_nested_deeper_than_the_limit_is_an_error_in_every_format(name, wrap, levels):
    with pytest.raises(SerializeError, match="nested deeper"):
        FORMATS[name][0].dump(None, nested(levels, wrap))


def test_a_cycle_is_an_error(name):
    cycle = {}
    cycle["self"] = cycle

    with pytest.raises(SerializeError, match="holds itself"):
        FORMATS[name][0].dump(None, cycle)


def test_a_value_that_occurs_twice_is_not_a_cycle(name):
    copy = {"a": [1]}
    plugin, _ = FORMATS[name]

    assert plugin.load(None, plugin.dump(None, [copy, copy])) == [copy, copy]


def test_all_formats_write_the_same_times_numbers_and_ids(name):
    plugin, _ = FORMATS[name]
    body = [datetime.datetime(2024, 1, 1), datetime.date(2024, 1, 1), decimal.Decimal("0.10"), uuid.UUID(int=1)]

    assert plugin.load(None, plugin.dump(None, body)) == [
        "2024-01-01T00:00:00",
        "2024-01-01",
        "0.10",
        "00000000-0000-0000-0000-000000000001",
    ]


def test_dump_does_not_change_the_body(name):
    body = {"a": [{1: {3, 2}}, (4,)], "b": Item([5])}
    before = repr(body)

    FORMATS[name][0].dump(None, body)

    assert repr(body) == before


def test_a_type_without_a_form_is_named_with_its_place(name):
    with pytest.raises(SerializeError, match=r"body\.items\[1\]\.price.*builtins\.object"):
        FORMATS[name][0].dump(None, {"items": [0, {"price": object()}]})


def test_msgpack_refuses_extension_types_on_the_way_in():
    with pytest.raises(ValueError, match="extension type 5"):
        msgpack_serialize.load(None, msgpack.packb(msgpack.ExtType(5, b"x")))


def test_yaml_refuses_aliases_and_tags_on_the_way_in():
    with pytest.raises(ValueError, match="aliases"):
        yaml_serialize.load(None, b"a: &x [1]\nb: *x\n")
    with pytest.raises(Exception, match="tag is refused"):
        yaml_serialize.load(None, b"!!python/object/apply:os.getcwd []")


def test_yaml_refuses_a_body_above_its_size_limit(monkeypatch):
    monkeypatch.setattr(yaml_serialize, "MAX_BYTES", 10)

    with pytest.raises(ValueError, match="limit"):
        yaml_serialize.load(None, b"a" * 11)


def test_yaml_keeps_the_order_of_keys_and_writes_unicode_out():
    assert yaml_serialize.dump(None, {"b": "é", "a": 1}) == "b: é\na: 1\n".encode()


def test_text_stays_text_in_the_str_format():
    assert str_serialize.dump(None, "héllo") == "héllo".encode()
    assert str_serialize.dump(None, b"\xff") == b"\xff"
    assert str_serialize.load(None, b"just words") == "just words"


@given(
    body=st.recursive(
        st.integers(-9, 9) | st.none(),
        lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text("ab"), x, max_size=3),
        max_leaves=6,
    )
)
def test_plain_containers_come_back_from_the_str_format(body):
    assert str_serialize.load(None, str_serialize.dump(None, body)) == body


def test_the_str_format_refuses_what_has_no_form():
    with pytest.raises(SerializeError, match=r"body\[0\]"):
        str_serialize.dump(None, [object()])


def test_hub_serialize_uses_the_plugin_that_is_set(hub):
    hub.serialize.PLUGIN = "yaml"

    assert hub.serialize.init.dump({"a": 1}) == b"a: 1\n"
    assert hub.serialize.init.load(b"a: 1\n") == {"a": 1}


class Opaque:
    def __repr__(self):
        return "<opaque>"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=5) | st.timedeltas()
    | st.datetimes() | st.decimals() | st.uuids() | st.frozensets(st.integers()) | st.just(range(3))
    | st.builds(Opaque),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=10,
)  # fmt: skip


@given(ANYTHING)
def test_pop_json_writes_every_body_as_pop_serial_does(body):
    from pop_serial.serial import json_serial

    assert pop_json_serialize.dump(None, body) == json_serial.dump(None, body)


def test_pop_json_writes_sets_sorted_or_where_pop_serial_fails_as_they_are():
    assert pop_json_serialize.dump(None, {3, 1, 2}) == b"[1, 2, 3]"
    assert sorted(pop_json_serialize.dump(None, {1, "a"}).decode()) == sorted('[1, "a"]')


async def test_events_of_pop_json_say_that_they_are_json_and_are_read_by_the_plugin_json(hub, start):
    hub.evbus.SERIAL_PLUGIN = "pop_json"
    await start()
    queue = await hub.ingress.internal.get("k")
    await hub.evbus.broker.put("k", {"took": datetime.timedelta(seconds=1), "sum": math.nan})

    assert await queue.get() == b'{"took": "datetime.timedelta(seconds=1)", "sum": NaN}'
    assert "pop_json" not in decoding.formats(hub)
    assert decoding.decoder(hub)(ReceivedEvent(b"[1]", content_type="application/json")) == [1]
