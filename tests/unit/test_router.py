"""engine/sending/router.py: which lanes an event's profile leads to."""

import pytest

from evbus_like.engine.errors import BadEvent
from evbus_like.engine.sending.router import Router
from evbus_like.engine.sending.serializer import Serializer
from tests.unit.fakes import entry


async def test_every_matching_profile_gets_the_event():
    entries = [
        entry(name="a", matches=lambda p: p.startswith("x")),
        entry(name="b"),
        entry(name="c", matches=lambda p: False),
    ]

    assert Router(entries).route("xy").names == ("a", "b")
    assert Router(entries).route("y").names == ("b",)


async def test_patterns_are_tried_once_for_a_name():
    tried = []
    router = Router([entry(matches=lambda p: tried.append(p) or True)])

    for _ in range(100):
        router.route("orders")

    assert tried == ["orders"]


async def test_a_name_whose_route_cannot_be_found_is_tried_once():
    tried = []

    def slow(name):
        tried.append(name)
        raise TimeoutError("stopped")

    router = Router([entry(name="internal:(a|a)*b", matches=slow)], max_cached=2)

    for _ in range(3):
        with pytest.raises(BadEvent, match=r"internal:\(a\|a\)\*b cannot say whether it matches 'orders'.*stopped"):
            router.route("orders")
    assert tried == ["orders"]
    for name in "abc":
        with pytest.raises(BadEvent):
            router.route(name)
    assert len(router._failed) <= 2


async def test_the_cache_is_bounded():
    router = Router([entry()], max_cached=10)

    for n in range(1000):
        assert router.route(str(n)).lanes
        assert len(router.cache) <= 10


async def test_lanes_are_grouped_by_serializer_and_each_dumps_once():
    yaml = Serializer("yaml", "application/yaml", bytes)
    route = Router([entry(name="a"), entry(name="b", serializer=yaml), entry(name="c")]).route("p")

    assert [(s.name, [lane.name for lane in lanes]) for s, lanes in route.groups] == [
        ("json", ["a", "c"]),
        ("yaml", ["b"]),
    ]
