"""engine/values.py: the table of types."""

import dataclasses
import datetime
import decimal
import enum
import math
import uuid
from collections import OrderedDict, UserDict, namedtuple
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evbus_like.engine import values
from evbus_like.engine.errors import SerializeError


class Colour(enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


@dataclasses.dataclass(frozen=True)
class Item:
    price: object


Point = namedtuple("Point", "x y")


class Hooked:
    def __init__(self, value):
        self.value = value

    def __to_bus__(self):
        return self.value


class Text(str):
    pass


MOMENT = datetime.datetime(2024, 2, 29, 12, 0, tzinfo=datetime.UTC)
ID = uuid.UUID(int=7)

TABLE = [
    (MOMENT, "2024-02-29T12:00:00+00:00"),
    (datetime.date(2024, 2, 29), "2024-02-29"),
    (datetime.time(12, 30), "12:30:00"),
    (decimal.Decimal("1.10"), "1.10"),
    (ID, str(ID)),
    (Colour.RED, "red"),
    (Number.ONE, 1),
    ({3, 1, 2}, [1, 2, 3]),
    (frozenset("ba"), ["a", "b"]),
    (Item(1), {"price": 1}),
    (Point(1, 2), {"x": 1, "y": 2}),
    (OrderedDict(a=1), {"a": 1}),
    (UserDict(a=1), {"a": 1}),
    (MappingProxyType({"a": 1}), {"a": 1}),
    ((1, (2,)), [1, [2]]),
    (Hooked({"a": Colour.RED}), {"a": "red"}),
    (Text("x"), "x"),
    (True, True),
    (None, None),
]


@pytest.mark.parametrize(("value", "expected"), TABLE, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("native", [True, False])
def test_every_row_of_the_table_gives_builtins(value, expected, native):
    made = values.plain(value, native)

    assert made == expected
    assert type(made) is type(expected)


@pytest.mark.parametrize("made_of", [bytes, bytearray, memoryview])
def test_bytes_are_base64_in_json_and_themselves_elsewhere(made_of):
    assert values.plain(made_of(b"\x00\xff"), False) == "AP8="
    assert values.plain(made_of(b"\x00\xff"), True) == b"\x00\xff"


def test_a_set_that_cannot_be_sorted_keeps_all_its_items():
    assert sorted(values.plain({1, "a", None}, False), key=str) == [1, None, "a"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"items": [1, 2, 3, {"price": object()}]}, "body.items[3].price"),
        ({"a b": object()}, "body['a b']"),
        ([Item(object())], "body[0].price"),
        ({"a": Hooked({"b": object()})}, "body.a.b"),
        ({1: object()}, "body['1']"),
        (object(), "body"),
    ],
)
def test_an_error_names_the_place_in_the_body_and_the_type(body, path):
    with pytest.raises(SerializeError) as caught:
        values.plain(body, False)

    assert caught.value.path == path
    assert path in str(caught.value)
    assert "builtins.object" in str(caught.value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinities_are_an_error_in_json_alone(number):
    assert repr(values.plain([number], True)) == repr([number])
    with pytest.raises(SerializeError, match="JSON cannot hold"):
        values.plain([number], False)


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**400])
@pytest.mark.parametrize("native", [True, False])
def test_ints_beyond_64_bits_are_an_error(number, native):
    with pytest.raises(SerializeError, match="64 bits"):
        values.plain({"n": number}, native)


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63)])
def test_ints_of_64_bits_are_kept(number):
    assert values.plain(number, False) == number


@pytest.mark.parametrize("body", ["\ud800", ["\udfff"], {"\ud800": 1}, {Text("\ud800"): 1}, {Colour("red"): "\ud800"}])
@pytest.mark.parametrize("native", [True, False])
def test_a_lone_surrogate_is_an_error(body, native):
    with pytest.raises(SerializeError, match="surrogate"):
        values.plain(body, native)


@pytest.mark.parametrize("native", [True, False])
def test_a_cycle_is_an_error_and_not_a_crash(native):
    cycle = []
    cycle.append({"again": cycle})

    with pytest.raises(SerializeError, match="holds itself"):
        values.plain(cycle, native)


def test_an_object_that_converts_to_itself_is_an_error():
    endless = Hooked(None)
    endless.value = endless

    with pytest.raises(SerializeError, match="nested deeper"):
        values.plain(endless, True)


def test_a_hook_that_raises_is_named():
    class Bad:
        def __to_bus__(self):
            raise KeyError("nothing")

    with pytest.raises(SerializeError, match=r"body\[0\].*Bad raised KeyError"):
        values.plain([Bad()], True)


@pytest.mark.parametrize(
    ("key", "text"),
    [(1, "1"), (1.5, "1.5"), (True, "true"), (None, "null"), (Number.ONE, "1"), (Colour.RED, "red"), (ID, str(ID))],
)
def test_keys_become_text_in_json(key, text):
    assert values.plain({key: 0}, False) == {text: 0}


@pytest.mark.parametrize("key", [1, 1.5, True, None, b"k"])
def test_plain_keys_stay_themselves_in_msgpack_and_yaml(key):
    assert values.plain({key: 0}, True) == {key: 0}


@pytest.mark.parametrize("key", [(1, 2), frozenset({1}), Item(1), b"k"])
def test_a_key_of_another_type_is_an_error(key):
    with pytest.raises(SerializeError, match="has a key of type"):
        values.plain({key: 0}, False)


@pytest.mark.parametrize(
    "body", [{1: "a", "1": "b"}, {None: 1, "null": 2}, {Number.ONE: 1, "1": 2}, {True: 1, "true": 2}]
)
def test_two_keys_that_become_the_same_text_are_an_error(body):
    with pytest.raises(SerializeError, match="two keys"):
        values.plain(body, False)


def test_only_plain_bodies_are_left_to_a_library():
    assert values.simple({"a": [1.0, {"b": (2.0, "x", None)}]}, False)
    assert not values.simple({"a": [1.0, {"b": (float("nan"),)}]}, False)
    assert values.simple({"a": [1.0, {"b": (float("nan"),)}]}, True)
    assert not values.simple([object()], False)
    assert not values.simple({1: "a"}, True)


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
)


def floats(value):
    if isinstance(value, float):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    for each in inner:
        yield from floats(each)


@given(plain_values)
def test_finite_finds_every_nan_and_every_infinity_and_nothing_else(value):
    assert values.finite(value) == all(math.isfinite(number) for number in floats(value))


@pytest.mark.parametrize(
    "value",
    [Item(1.0), Colour.RED, {1.0}, Hooked(1), uuid.uuid4(), Point(1, 2)],
    ids=lambda value: type(value).__name__,  # the same in every process
)
def test_finite_says_nothing_of_what_is_no_builtin(value):
    assert not values.finite([value])
