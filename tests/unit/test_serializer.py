"""engine/sending/serializer.py: a body becomes bytes, or an error says why not."""

import pytest

from evbus_like.engine.errors import EventTooLarge, SerializeError
from evbus_like.engine.sending.serializer import Serializer
from tests.unit.fakes import JSON, entry


def pack(dump, body=1, lanes=()):
    return Serializer("odd", "text/odd", dump).pack(body, lanes)


def test_it_gives_what_the_plugin_dumps():
    assert pack(lambda body: b"one") == b"one"


def test_any_error_of_a_serializer_becomes_one_that_names_it():
    with pytest.raises(SerializeError, match="serializer odd failed: ZeroDivisionError") as caught:
        pack(lambda body: 1 / 0)

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("answer", [None, "text", 7, ["x"]])
def test_a_serializer_that_gives_no_bytes_is_an_error_that_names_it(answer):
    with pytest.raises(SerializeError, match="odd"):
        pack(lambda body: answer)


async def test_a_body_larger_than_a_destination_takes_names_both():
    lane = entry(name="amqp:small", max_event_bytes=10).lane

    assert JSON.pack("x" * 8, [lane]) == b'"xxxxxxxx"'
    with pytest.raises(EventTooLarge, match="11 bytes as json, and amqp:small takes at most 10"):
        JSON.pack("x" * 9, [lane])
