"""cli/lines.py: lines of files and pipes, however long they are and wherever a chunk ends."""

import asyncio
import os

import pytest

from evbus_like.cli import lines

CONTENTS = {
    b"": [],
    b"a": [b"a"],
    b"a\n": [b"a"],
    b"a\n\nb": [b"a", b"", b"b"],
    b"\n\n": [b"", b""],
    b"\r\n\x00\xff\n": [b"\r", b"\x00\xff"],
    b"12345678": [b"12345678"],
    b"a\n" + b"x" * 40 + b"\nb": [b"a", None, b"b"],
    b"x" * 41: [None],
    b"x" * 41 + b"\n": [None],
}


async def read(path):
    """Read all lines of a file, with their numbers."""
    return [each async for each in lines.read(str(path), asyncio.Event())]


@pytest.mark.parametrize("chunk", [1, 3, 4, 64])
@pytest.mark.parametrize("content", CONTENTS)
async def test_lines_come_whole_and_numbered_and_one_that_is_too_long_comes_as_none(
    tmp_path, monkeypatch, content, chunk
):
    monkeypatch.setattr(lines, "CHUNK", chunk)
    monkeypatch.setattr(lines, "MAX_LINE", 16)
    path = tmp_path / "lines"
    path.write_bytes(content)

    assert await read(path) == list(enumerate(CONTENTS[content], 1))


async def test_a_line_of_64_mib_is_read_in_small_chunks_without_copying_it_each_time(tmp_path):
    path = tmp_path / "long"
    path.touch()
    os.truncate(path, lines.MAX_LINE)

    async with asyncio.timeout(10):  # half a second; 25 when each chunk copied what was there
        ((number, line),) = await read(path)

    assert (number, len(line)) == (1, lines.MAX_LINE)
