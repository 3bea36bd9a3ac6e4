"""engine/declared: a function as an event, bodies that fit it, and what is said of those that do not."""

import datetime
import decimal
import enum
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import orjson
import pytest

from evbus_like.engine.declared.declaration import declare
from evbus_like.engine.errors import BadEvent, DeclarationError, SerializeError
from evbus_like.serialize import json_serialize, msgpack_serialize, str_serialize, yaml_serialize


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Point(NamedTuple):
    x: int
    y: int = 7


class Line(NamedTuple):
    ends: list[Point]
    name: str | None = None


class Options(TypedDict, total=False):
    depth: int


@dataclass
class Item:
    sku: str
    price: decimal.Decimal
    at: Point | None = None
    tags: set[str] = field(default_factory=set)
    parts: list["Item"] = field(default_factory=list)


class Opaque:
    pass


async def user_created(hub, username: str, email: str, plan: str = "free"):
    """A user has signed up.

    By any way.
    """


USER = declare("auth", "user_created", user_created)


def with_hint(hint, *default):
    """Declare an event with one parameter, `it`."""

    async def happened(hub, it): ...

    happened.__annotations__ = {"it": hint}
    happened.__defaults__ = default or None
    return declare("test", "happened", happened)


def test_a_function_s_name_signature_and_docstring_are_the_event():
    assert (USER.service, USER.name, USER.full_name) == ("auth", "user_created", "auth.user_created")
    assert {name: each.required for name, each in USER.parameters.items()} == {
        "username": True,
        "email": True,
        "plan": False,
    }
    assert USER.doc == "A user has signed up.\n\nBy any way."


def test_the_body_holds_every_name_in_the_order_of_the_declaration():
    assert list(USER.body((), {"email": "e", "username": "u"}).items()) == [
        ("username", "u"),
        ("email", "e"),
        ("plan", "free"),
    ]


def said(call):
    with pytest.raises(BadEvent) as caught:
        call()
    return str(caught.value)


def test_all_missing_and_all_unknown_names_are_said_at_once():
    text = "auth.user_created: missing: username, email; unknown: nam, mail; it has username, email, plan"
    assert said(lambda: USER.body((), {"nam": 1, "mail": 2})) == text
    assert said(lambda: USER.check({"nam": 1, "mail": 2})) == text


def test_positional_arguments_are_refused_and_the_call_is_shown():
    text = said(lambda: USER.body(("adam", "e"), {}))
    assert text == (
        "auth.user_created takes keyword arguments only, not 2 positional: "
        "user_created(username=..., email=..., plan=...)"
    )


def test_every_wrong_type_is_said_with_its_place():
    text = said(lambda: USER.body((), {"username": 1, "email": None, "plan": ["a"]}))
    assert text == (
        "auth.user_created: username must be str, not int; email must be str, not null; plan must be str, not array"
    )


DEEP = [
    (list[Item], [{"sku": "a", "price": "1"}, {"sku": 1, "price": "1"}], "it[1].sku must be str, not int"),
    (dict[str, list[int]], {"a": ["x"]}, "it[...][0] must be int, not str"),
    (dict[int, int], {"a": 1}, "a key of it must be int, not str"),
    (Annotated[int, msgspec.Meta(gt=3)], 3, "it: Expected `int` >= 4"),
    (Colour, "green", "it: Invalid enum value"),
    (datetime.date, "soon", "it: Invalid RFC3339 encoded date"),
    (list[Point], [{"x": 1}, {"x": "one"}], "it[1][0] must be int, not str"),
    (Point, {"y": 1}, "it must be a list, or have exactly the names of Point(x, y)"),
    (Literal["a", "b"], "c", "it: Invalid enum value"),
]


@pytest.mark.parametrize(("hint", "value", "text"), DEEP, ids=[text for *_, text in DEEP])
def test_the_place_of_a_wrong_value_is_said(hint, value, text):
    assert said(lambda: with_hint(hint).check({"it": value})) == f"test.happened: {text}"


CASTS = [
    (int, "1", 1),
    (int, 1.0, 1),
    (float, 1, 1.0),
    (float, "1.5", 1.5),
    (bool, "true", True),
    (datetime.datetime, "2024-05-01T10:00:00+02:00", datetime.datetime.fromisoformat("2024-05-01T10:00:00+02:00")),
    (datetime.date, "2024-05-01", datetime.date(2024, 5, 1)),
    (datetime.time, "10:30:00", datetime.time(10, 30)),
    (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
    (uuid.UUID, "12345678123456781234567812345678", uuid.UUID("12345678123456781234567812345678")),
    (Colour, "red", Colour.RED),
    (Level, "2", Level.HIGH),
    (bytes, "AP8=", b"\x00\xff"),
    (bytes, b"\x00\xff", b"\x00\xff"),
    (set[int], [1, 2, 1], {1, 2}),
    (frozenset[str], ["a"], frozenset("a")),
    (tuple[int, str], ["1", "a"], (1, "a")),
    (int | None, None, None),
    (int | str, "1", "1"),
    (dict[int, str], {"1": "a"}, {1: "a"}),
    (Item, {"sku": "a", "price": "1"}, Item("a", decimal.Decimal(1))),
    (Item, {"sku": "a", "price": 1, "at": {"x": "3"}}, Item("a", decimal.Decimal(1), Point(3))),
    (Point, {"x": 1}, Point(1, 7)),
    (Point, [1, 2], Point(1, 2)),
    (Line, {"ends": [{"x": 1}, [2, 3]]}, Line([Point(1, 7), Point(2, 3)], None)),
    (Point | dict[str, int], {"x": 1}, Point(1, 7)),
    (Point | dict[str, int], {"z": 1}, {"z": 1}),
    (tuple[Point, ...], [{"x": 1}], (Point(1),)),
    (dict[str, Point], {"a": {"x": 1}}, {"a": Point(1)}),
    (Options, {"depth": "3"}, {"depth": 3}),
    (Any, {"a": [1]}, {"a": [1]}),
]


@pytest.mark.parametrize(("hint", "value", "cast"), CASTS, ids=repr)
def test_a_received_value_is_cast_to_its_hint(hint, value, cast):
    got = with_hint(hint).check({"it": value})["it"]
    assert got == cast
    assert type(got) is type(cast)


@pytest.mark.parametrize(("hint", "value", "cast"), CASTS, ids=repr)
def test_what_is_sent_is_taken_by_every_serializer_and_comes_back_as_it_was_cast(hint, value, cast):
    declaration = with_hint(hint)
    for each in (value, cast):
        body = declaration.body((), {"it": each})
        for serializer in (json_serialize, msgpack_serialize, yaml_serialize, str_serialize):
            assert declaration.check(serializer.load(None, serializer.dump(None, body))) == {"it": cast}
        assert orjson.loads(orjson.dumps(body)) == body, "plain JSON, whatever the serializer"


def test_without_a_hint_anything_goes_that_has_a_form():
    async def happened(hub, it): ...

    declaration = declare("test", "happened", happened)
    assert declaration.body((), {"it": {"a": {3, 1}}}) == {"it": {"a": [1, 3]}}
    with pytest.raises(SerializeError, match=r"test\.happened: it\.a cannot be serialized.*Opaque"):
        declaration.body((), {"it": {"a": Opaque()}})


def test_a_default_is_a_fresh_one_each_time():
    declaration = with_hint(list[int], [1])
    declaration.check({})["it"].append(2)
    declaration.body((), {})["it"].append(2)
    assert declaration.check({}) == declaration.body((), {}) == {"it": [1]}


@pytest.mark.parametrize("body", [None, 1, "text", [["username", "a"]]])
def test_a_received_body_that_is_no_mapping_is_refused(body):
    assert "the body must map names to values" in said(lambda: USER.check(body))


def test_a_name_may_be_self():
    def happened(hub, self: int, arguments: int, given: int): ...

    assert declare("test", "happened", happened).body((), {"self": 1, "arguments": 2, "given": 3})


def bad(function, text):
    with pytest.raises(DeclarationError) as caught:
        declare("test", "happened", function)
    assert text in str(caught.value)


def test_a_signature_that_is_no_list_of_names_is_refused():
    bad(lambda hub, *args: 0, "*args")
    bad(lambda hub, **names: 0, "**names")
    bad(lambda hub, a, /: 0, "positional-only")
    bad(lambda: 0, "the first parameter must be hub")
    bad(lambda username: 0, "the first parameter must be hub")


UNUSABLE = [
    (Opaque, "Opaque, a type that msgspec cannot check; use a builtin type"),
    (list[dict[str, Opaque]], "Opaque"),
    (Callable[[], int], "Callable"),
    (datetime.timedelta, "use a number of seconds"),
    (list[int] | set[int], "more than one array-like"),
    (datetime.datetime | str, "more than one str-like"),
    (msgspec.defstruct("S", ["a"]), "use a dataclass"),
    ("NotThere", "its hints cannot be read: NameError"),
    (3, "not supported"),
]


@pytest.mark.parametrize(("hint", "text"), UNUSABLE, ids=[text for _, text in UNUSABLE])
def test_a_hint_that_cannot_be_used_is_refused_when_it_is_declared(hint, text):
    with pytest.raises(DeclarationError, match="hint") as caught:
        with_hint(hint)
    assert text in str(caught.value)


def test_a_default_that_does_not_fit_its_hint_is_refused_and_the_cure_is_said():
    with pytest.raises(DeclarationError, match=r"default of it does not fit.*it: \.\.\. \| None = None"):
        with_hint(str, None)
    with pytest.raises(DeclarationError, match="default of it does not fit"):
        with_hint(Any, Opaque())


@pytest.mark.parametrize("service", ["", None, 7, "s" * 300])
def test_a_service_that_cannot_be_one_is_refused(service):
    with pytest.raises(DeclarationError, match="service"):
        declare(service, "user_created", user_created)


def test_a_received_body_that_does_not_fit_is_not_quoted():
    async def painted(hub, colour: Colour, items: list[Literal["a"]] | None = None): ...

    event = declare("house", "painted", painted)
    for body in (
        {"colour": "SECRET - at `$.x`"},
        {"colour": "red", "items": ["SECRET"]},
        {"colour": "red", **{f"name{number}" * 20: "SECRET" for number in range(1000)}},
    ):
        with pytest.raises(BadEvent) as caught:
            event.check(body)
        assert "SECRET" not in str(caught.value)
        assert len(str(caught.value)) < 700
    with pytest.raises(BadEvent, match="items\\[0\\]: Invalid enum value"):
        event.check({"colour": "red", "items": ["b"]})
