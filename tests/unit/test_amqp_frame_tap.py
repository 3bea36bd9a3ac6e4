"""amqp/frame_tap.py and amqp/deliveries.py: messages are taken off the stream however it is cut; all else goes on."""

import asyncio
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from evbus_like.amqp.deliveries import Deliveries
from evbus_like.amqp.frame_tap import HEARTBEAT_FRAME, FrameTap


def frame(kind, channel, payload):
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def short(text):
    return bytes([len(text)]) + text


def message(channel, tag, body, pieces=1, redelivered=False, key=b"placed"):
    """The frames of one delivery."""
    method = b"\x00\x3c\x00\x3c" + short(b"tag") + struct.pack(">QB", tag, redelivered) + short(b"ex") + short(key)
    header = struct.pack(">HHQ", 60, 0, len(body)) + b"\x00\x00"
    size = -(-len(body) // pieces) or 1
    bodies = [frame(3, channel, body[at : at + size]) for at in range(0, len(body), size)]
    return frame(1, channel, method) + frame(2, channel, header) + b"".join(bodies)


def other(channel, method=b"\x00\x14\x00\x28nothing"):
    return frame(1, channel, method)


async def through(chunks, tapped=(1,)):
    """Feed bytes to a tap; gives what was delivered on each tapped channel, and what went on."""
    ended = []
    tap = FrameTap(ended.append)
    arrived = {channel: [] for channel in tapped}
    for channel in tapped:
        tap.sinks[channel] = Deliveries(arrived[channel].append)
    for chunk in chunks:
        tap.feed_data(chunk)
    tap.feed_eof()
    assert ended == [None]
    return arrived, await tap.read()


def facts(delivery):
    return delivery.tag, delivery.body, delivery.redelivered, delivery.exchange, delivery.routing_key


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("message"), st.sampled_from([1, 2]), st.binary(max_size=40), st.integers(1, 3)),
            st.tuples(st.just("other"), st.sampled_from([0, 1, 2, 3])),
        ),
        max_size=12,
    ),
    st.lists(st.integers(1, 60), max_size=40),
)
def test_a_stream_cut_anywhere_gives_the_same_messages_and_passes_the_same_frames(parts, cuts):
    stream, wanted, passed = b"", {1: [], 2: []}, b""
    for number, part in enumerate(parts):
        if part[0] == "message":
            stream += message(part[1], number, part[2], part[3])
            wanted[part[1]].append((number, part[2], False, "ex", "placed"))
        else:
            stream += other(part[1])
            passed += other(part[1])
    chunks, at = [], 0
    for cut in cuts:
        chunks.append(stream[at : at + cut])
        at += cut
    chunks.append(stream[at:])

    arrived, went_on = asyncio.run(through(chunks, (1, 2)))

    assert {channel: [facts(it) for it in found] for channel, found in arrived.items()} == wanted
    assert went_on.replace(HEARTBEAT_FRAME, b"") == passed


async def test_messages_of_other_channels_go_on_unchanged():
    stream = message(7, 1, b"body")
    arrived, went_on = await through([stream])
    assert (arrived, went_on) == ({1: []}, stream)


async def test_bytes_that_are_not_amqp_go_on_unchanged():
    answer = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    assert (await through([answer[:3], answer[3:]]))[1] == answer
    assert (await through([b"AMQP\x00\x00\x09\x01"]))[1] == b"AMQP\x00\x00\x09\x01"


async def test_an_incomplete_frame_goes_on_when_the_stream_ends_so_that_aiormq_reports_it():
    assert (await through([other(0)[:5]]))[1] == other(0)[:5]


async def test_while_only_messages_arrive_aiormq_gets_heartbeats():
    tap = FrameTap(lambda error: None)
    tap.sinks[1] = Deliveries(lambda delivery: None)
    clock = iter(range(1, 100))
    tap._now = lambda: next(clock) * 2.0
    for number in range(3):
        tap.feed_data(message(1, number, b"x"))
    tap.feed_eof()
    assert await tap.read() == HEARTBEAT_FRAME * 3


async def test_a_broken_stream_is_reported_at_once():
    errors = []
    tap = FrameTap(errors.append)
    problem = ConnectionResetError("cut")
    tap.set_exception(problem)
    assert errors == [problem]


async def test_a_redelivery_is_marked():
    arrived, _ = await through([message(1, 5, b"x", redelivered=True)])
    assert facts(arrived[1][0]) == (5, b"x", True, "ex", "placed")


async def test_a_frame_larger_than_negotiated_ends_the_connection_before_it_is_read():
    ended = []
    tap = FrameTap(ended.append, lambda: 10_000)
    tap.feed_data(other(0) + struct.pack(">BHI", 3, 1, 2**31) + bytes(100_000))
    for _ in range(100):
        tap.feed_data(bytes(100_000))

    (error,) = ended
    assert "sent a frame of 2147483648 bytes, and 10000 were negotiated" in str(error)
    assert tap._rest == b"", "nothing is kept"


async def test_a_frame_as_large_as_negotiated_is_taken():
    ended = []
    tap = FrameTap(ended.append, lambda: 10_000)
    tap.feed_data(frame(1, 0, b"\x00\x14\x00\x28" + bytes(10_000 - 4)))
    assert ended == []


async def test_headers_may_be_larger_than_negotiated_up_to_a_bound_because_rabbitmq_adds_some():
    ended = []
    tap = FrameTap(ended.append, lambda: 10_000)
    tap.feed_data(frame(2, 0, bytes(20_000)))
    assert ended == []
    tap.feed_data(struct.pack(">BHI", 2, 1, 2**20 + 1))
    assert "10000 were negotiated" in str(ended[0])
