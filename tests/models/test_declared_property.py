"""What goes out of a declared event comes in equal, through every serializer."""

import datetime
import decimal
import uuid
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from evbus_like.engine.declared.declaration import declare
from evbus_like.serialize import json_serialize, msgpack_serialize, yaml_serialize
from tests.unit.test_declared import Colour, Item, Level, Line, Point

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ints = st.integers(-(2**63), 2**63 - 1)
points = st.builds(Point, ints, ints)
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=3)
utc = st.just(datetime.UTC)
items: st.SearchStrategy[Item] = st.deferred(
    lambda: st.builds(Item, text, decimals, st.none() | points, st.sets(text, max_size=3), st.lists(items, max_size=2))
)
# A hint, and values of it that Python's own equality compares
KINDS: dict[Any, st.SearchStrategy[Any]] = {
    str: text,
    int: ints,
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    bytes: st.binary(max_size=50),
    datetime.datetime: st.datetimes(timezones=st.none() | utc),
    datetime.date: st.dates(),
    datetime.time: st.times(),
    decimal.Decimal: decimals,
    uuid.UUID: st.uuids(),
    Colour: st.sampled_from(Colour),
    Level: st.sampled_from(Level),
    Point: points,
    Line: st.builds(Line, st.lists(points, max_size=3), st.none() | text),
    Item: items,
}


def wider(hint: Any) -> st.SearchStrategy[tuple[Any, st.SearchStrategy[Any]]]:
    """Wrap a hint into containers."""
    values = KINDS[hint]
    options = [
        (list[hint], st.lists(values, max_size=4)),
        (tuple[hint, ...], st.lists(values, max_size=4).map(tuple)),
        (tuple[hint, int], st.tuples(values, ints)),
        (dict[str, hint], st.dictionaries(text, values, max_size=4)),
        (hint | None, st.none() | values),
        (list[dict[str, hint | None]], st.lists(st.dictionaries(text, st.none() | values, max_size=3), max_size=3)),
    ]
    if hint in (str, int, bytes, decimal.Decimal, uuid.UUID, datetime.date, Point):
        options += [(set[hint], st.sets(values, max_size=4)), (frozenset[hint], st.frozensets(values, max_size=4))]
    if hint in (int, uuid.UUID, datetime.date, Colour):
        options.append((dict[hint, int], st.dictionaries(values, ints, max_size=4)))
    return st.sampled_from([(hint, values), *options])


hinted = st.sampled_from(list(KINDS)).flatmap(wider).flatmap(lambda pair: st.tuples(st.just(pair[0]), pair[1]))


@given(st.lists(hinted, min_size=1, max_size=4))
def test_what_goes_out_comes_in_equal(pairs: list[tuple[Any, Any]]) -> None:
    names = [f"name_{number}" for number in range(len(pairs))]
    scope: dict[str, Any] = {}
    exec(f"async def happened(hub, {', '.join(names)}): ...", scope)
    function = scope["happened"]
    function.__annotations__ = {name: hint for name, (hint, _) in zip(names, pairs, strict=True)}
    declaration = declare("test", "happened", function)
    sent = {name: value for name, (_, value) in zip(names, pairs, strict=True)}
    body = declaration.body((), sent)
    for serializer in (json_serialize, msgpack_serialize, yaml_serialize):
        got = declaration.check(serializer.load(None, serializer.dump(None, body)))
        assert got == sent
        assert {name: type(value) for name, value in got.items()} == {name: type(value) for name, value in sent.items()}
