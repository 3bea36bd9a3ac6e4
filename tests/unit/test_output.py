"""cli/output.py: streams that fail raise nothing, keep why they failed, and escape what they cannot show."""

import errno
import os

import pytest

from evbus_like.cli import output


@pytest.fixture
def stream():
    """A function that makes a text stream on a file descriptor, and its raw stream."""

    def make(fd, encoding="utf-8", errors="strict"):
        class Like:
            line_buffering = True
            write_through = False

        Like.encoding, Like.errors = encoding, errors
        raw = output.Stream(fd)
        return output._text(raw, Like, False), raw

    return make


def test_what_is_written_arrives_whole(stream):
    read_end, write_end = os.pipe()
    text, raw = stream(write_end)
    print("é" * 1000, file=text)
    assert os.read(read_end, 5000).decode() == "é" * 1000 + "\n"
    assert raw.error is None
    os.close(read_end)
    os.close(write_end)


def test_a_full_disk_raises_nothing_and_is_kept(stream):
    fd = os.open("/dev/full", os.O_WRONLY)
    text, raw = stream(fd)
    for _ in range(3):
        print("x" * 100_000, file=text, flush=True)
    assert raw.error.errno == errno.ENOSPC
    assert not raw.isatty()
    os.close(fd)


def test_a_reader_that_exits_raises_nothing(stream):
    read_end, write_end = os.pipe()
    os.close(read_end)
    text, raw = stream(write_end)
    print("x", file=text, flush=True)
    assert raw.error.errno == errno.EPIPE
    os.close(write_end)


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_characters_that_the_encoding_does_not_have_are_escaped(stream, errors):
    read_end, write_end = os.pipe()
    text, _ = stream(write_end, "ascii", errors)
    print("ü → \ud800", file=text, flush=True)
    assert os.read(read_end, 100) == b"\\xfc \\u2192 \\ud800\n"
    os.close(read_end)
    os.close(write_end)


def test_a_stream_that_another_program_made_non_blocking_is_waited_for(stream):
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    text, raw = stream(write_end)
    import threading

    got = []
    reader = threading.Thread(target=lambda: [got.append(os.read(read_end, 65536)) for _ in range(40)])
    reader.start()
    text.write("x" * 1_000_000)
    text.flush()
    assert raw.error is None
    os.close(write_end)
    reader.join()
    os.close(read_end)


def test_nothing_is_replaced_in_another_program(capsys):
    import sys

    before = sys.stdout
    output.begin()
    assert sys.stdout is before
    assert output.ended(3) == 3
