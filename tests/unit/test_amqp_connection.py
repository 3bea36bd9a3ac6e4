"""amqp/connection.py and amqp/internals.py: frames about the connection, and names that the library must have."""

import struct
from types import SimpleNamespace

import pytest

from evbus_like.amqp import internals
from evbus_like.amqp.connection import ControlFrames
from evbus_like.amqp.frame_tap import FrameTap
from evbus_like.amqp.settings import target
from evbus_like.engine.errors import DestinationRefused


def frame(method, *arguments):
    """A method's frame on channel 0."""
    payload = struct.pack(">HH", 10, method) + b"".join(arguments)
    return struct.pack(">BHI", 1, 0, len(payload)) + payload + b"\xce"


def short(text):
    return bytes([len(text)]) + text.encode()


BLOCKED, UNBLOCKED = frame(60, short("low on memory")), frame(61)
CLOSE = frame(50, struct.pack(">H", 530), short("NOT_ALLOWED - vhost not found"), struct.pack(">HH", 10, 40))


async def through(control, *frames):
    """Let frames arrive; returns what goes on to aiormq."""
    tap = FrameTap(lambda error: None)
    tap.sinks[0] = control
    for each in frames:
        tap.feed_data(each)
    tap.feed_eof()
    return await tap.read()


async def test_a_block_is_reported_with_rabbitmqs_reason_and_its_end_with_none():
    reported = []
    await through(ControlFrames(reported.append), BLOCKED, UNBLOCKED)
    assert reported == ["low on memory", None]


async def test_the_reason_why_rabbitmq_closes_a_connection_is_kept():
    control = ControlFrames()
    await through(control, CLOSE)
    assert control.close_reason == "NOT_ALLOWED - vhost not found"


async def test_aiormq_still_gets_every_frame_about_the_connection():
    assert await through(ControlFrames(), BLOCKED, UNBLOCKED, CLOSE) == BLOCKED + UNBLOCKED + CLOSE


async def test_a_library_without_a_name_that_is_used_is_refused_with_the_supported_versions():
    without_a_lock = {name: None for name in internals.CHANNEL if name != "lock"}

    async def channel(publisher_confirms):
        return SimpleNamespace(**without_a_lock)

    with pytest.raises(DestinationRefused, match=r"not supported.*has no lock: install aio-pika 10 and aiormq 7"):
        await internals.open_channel(SimpleNamespace(channel=channel), False)


async def test_an_aio_pika_without_a_connection_of_aiormq_is_refused():
    with pytest.raises(DestinationRefused, match=r"has no transport\.connection"):
        internals.transport_of(SimpleNamespace(transport=None))


async def test_the_stream_of_a_connection_is_made_by_our_transport():
    transport = SimpleNamespace()
    connection = internals.make_connection(target({}), {"app": "x"}, transport)
    assert connection.kwargs["transport_factory"] is transport
    assert connection.kwargs["client_properties"] == {"app": "x"}
    await connection.close()
