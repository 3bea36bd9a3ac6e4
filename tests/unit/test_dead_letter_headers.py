"""The headers of dead letters: bounded, and they say what was cut."""

import pytest

from evbus_like.engine import dead_letter_headers
from evbus_like.engine.receiving.received import ReceivedEvent


def test_every_value_is_bounded():
    event = ReceivedEvent(b"", "k" * 1_000_000, "s" * 1000)
    headers = dead_letter_headers.unhandled(event, "queue", "why " * 1000)
    assert sum(len(str(value)) for value in headers.values()) < 2000


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ({"headers": 40, "body": (1048576, 0)}, "body 1048576 -> 0; headers 40"),
        ({"body": (10, 5), "key": (7, 7)}, "body 10 -> 5"),
        ({"headers": 1}, "headers 1"),
    ],
)
def test_a_header_says_what_was_cut(what, text):
    assert dead_letter_headers.cut(**what) == {"evbus-dead-cut": text}
