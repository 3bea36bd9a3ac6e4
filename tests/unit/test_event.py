"""engine/event.py: what put takes in."""

import threading

import pytest

from evbus_like.engine.errors import BadEvent
from evbus_like.engine.event import FIELDS, MAX_ROUTING_KEY, Event, check


@pytest.mark.parametrize("routing_key", ["", "orders.created", "é" * 127, "x" * MAX_ROUTING_KEY, "😀" * 63])
def test_a_routing_key_of_up_to_255_bytes_is_taken(routing_key):
    check(routing_key, "default", None, None)


@pytest.mark.parametrize("routing_key", ["x" * 256, "é" * 128, "😀" * 64])
def test_a_routing_key_over_255_bytes_is_refused(routing_key):
    with pytest.raises(BadEvent, match="longer than 255 bytes"):
        check(routing_key, "default", None, None)


@pytest.mark.parametrize("wrong", [None, 1, b"x", {"body": 1}])
def test_a_routing_key_or_a_profile_that_is_no_string_is_refused_by_type(wrong):
    with pytest.raises(BadEvent, match=f"routing_key must be a string, not {type(wrong).__name__}"):
        check(wrong, "default", None, None)
    with pytest.raises(BadEvent, match=f"profile must be a string, not {type(wrong).__name__}"):
        check("", wrong, None, None)


def test_a_routing_key_that_is_not_valid_utf8_is_refused():
    with pytest.raises(BadEvent):
        check("\ud800", "default", None, None)


@pytest.mark.parametrize(
    "headers",
    [["a"], {"": 1}, {"x" * 256: 1}, {1: "a"}, {"a": [1]}, {"a": {}}, {"a": object()}],
)
def test_headers_that_no_broker_takes_are_refused(headers):
    with pytest.raises(BadEvent, match="header"):
        check("", "default", headers, None)


@pytest.mark.parametrize("headers", [{"\ud800": 1}, {"a": "\ud800"}, {"n": 2**64}, {"n": -(2**63) - 1}], ids=ascii)
def test_headers_that_have_no_bytes_are_refused(headers):
    with pytest.raises(BadEvent, match="header"):
        check("", "default", headers, None)


def test_plain_headers_are_taken():
    check("", "default", {"a": 1, "b": "x", "c": 1.5, "d": True, "e": b"x", "f": None}, b"key")


def test_a_key_is_text_or_bytes():
    check("", "default", None, "k")
    with pytest.raises(BadEvent, match="key must be a string or bytes, not int"):
        check("", "default", None, 1)


def test_ids_are_unique_across_threads():
    ids = []
    threads = [threading.Thread(target=lambda: ids.extend(Event("", 1, "").id for _ in range(2000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(ids)) == 8000


def test_a_twin_keeps_everything_and_can_be_changed_alone():
    event = Event("k", {"a": 1}, "p", {"h": 1}, "key", True)

    copy = event.copy()
    copy.body = b"{}"

    assert all(getattr(copy, name) == getattr(event, name) for name in FIELDS if name != "body")
    assert event.body == {"a": 1}


def test_a_repr_shows_neither_body_nor_headers():
    text = repr(Event("k", {"password": "hunter2"}, "p", {"token": "hunter2"}))

    assert "hunter2" not in text
    assert "'k'" in text
