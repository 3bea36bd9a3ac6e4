"""monitor/local.py and monitor/ask.py: the socket of a process, and those who ask it."""

import asyncio
import socket
import stat
from contextlib import suppress

import pytest

from evbus_like.monitor import ask, document, folder, local
from evbus_like.monitor.address import Address
from evbus_like.monitor.local import LocalSocket
from tests.unit.fakes import HANG

READY = document.status([])


async def status():
    return READY


@pytest.fixture
async def listening(tmp_path):
    """A function that opens a socket in a new folder, below a path of the length given."""
    opened = []

    async def listen(length=0, status=status, pid=1):
        where = tmp_path / ("x" * length or "running")
        opened.append(LocalSocket(where / folder.name_of(pid), status))
        async with asyncio.timeout(HANG):
            await opened[-1].start()
        return where

    yield listen
    async with asyncio.timeout(HANG):
        for each in opened:
            await each.close()


@pytest.mark.parametrize("length", [0, 200])
async def test_who_connects_gets_the_document_however_long_the_path_is(listening, length):
    (path,) = folder.sockets(await listening(length))

    assert await ask.by_socket(path, HANG) == READY
    assert await ask.by_socket(path, HANG) == READY


async def test_the_socket_and_its_folder_are_for_this_user_alone(listening):
    where = await listening()
    (path,) = folder.sockets(where)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(where.stat().st_mode) == 0o700


async def test_a_socket_that_a_killed_process_left_is_removed_by_the_next_and_others_stay(listening, tmp_path):
    where = await listening()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(where / "2.sock"))
    with pytest.raises(ask.NoAnswer, match="nobody listens there"):
        await ask.by_socket(where / "2.sock", HANG)

    await listening(pid=3)
    assert [path.name for path in folder.sockets(where)] == ["1.sock", "3.sock"]


async def test_a_socket_that_another_process_is_about_to_open_stays(listening):
    where = await listening()
    with socket.socket(socket.AF_UNIX) as beginning:
        beginning.bind(str(where / ".2.sock"))
        await listening(pid=3)
        assert (where / ".2.sock").exists()
        assert [path.name for path in folder.sockets(where)] == ["1.sock", "3.sock"]


async def test_the_end_removes_the_socket(tmp_path):
    opened = LocalSocket(tmp_path / "1.sock", status)
    await opened.start()
    await opened.close()

    assert list(tmp_path.iterdir()) == []


async def test_a_process_that_does_not_answer_is_waited_for_no_longer_than_asked(listening):
    async def never():
        await asyncio.sleep(HANG * 10)

    (path,) = folder.sockets(await listening(status=never))
    with pytest.raises(ask.NoAnswer, match=r"none within 0\.1 s"):
        await ask.by_socket(path, 0.1)


async def test_a_reader_that_reads_nothing_is_cut_off(listening, monkeypatch):
    monkeypatch.setattr(local, "WITHIN", 0.2)

    async def large():
        return {**READY, "reasons": ["x" * 20_000_000]}

    (path,) = folder.sockets(await listening(status=large))
    async with asyncio.timeout(HANG):
        reader, writer = await asyncio.open_unix_connection(str(path), limit=1024)
        await asyncio.sleep(0.5)
        found = b""
        with suppress(ConnectionResetError):
            while chunk := await reader.read(1_000_000):
                found += chunk
        writer.close()
    assert len(found) < 20_000_000


async def test_more_readers_than_it_takes_are_closed(listening, monkeypatch):
    monkeypatch.setattr(local, "MOST", 1)
    go_on = asyncio.Event()

    async def slow():
        await go_on.wait()
        return READY

    (path,) = folder.sockets(await listening(status=slow))
    first = asyncio.create_task(ask.by_socket(path, HANG))
    await asyncio.sleep(0.05)
    with pytest.raises(ask.NoAnswer, match="no status document"):
        await ask.by_socket(path, HANG)
    go_on.set()
    assert await first == READY


@pytest.mark.parametrize("answer", [b"", b"no json\n", b"[]\n", b'{"format": 99}\n', b"\xff\n"])
async def test_what_is_no_document_is_refused_in_words(tmp_path, answer):
    async def write(_, writer):
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(write, str(tmp_path / "1.sock"))
    with pytest.raises(ask.NoAnswer, match=r"1\.sock gives no status document: "):
        await ask.by_socket(tmp_path / "1.sock", HANG)
    server.close()


async def test_a_port_where_nobody_listens_is_named():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    with pytest.raises(ask.NoAnswer, match=f"127.0.0.1:{number} gives no answer: nobody listens there"):
        await ask.by_port(Address("127.0.0.1", number), None, HANG)


@pytest.mark.parametrize(
    "begin", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"], ids=["headers", "body"]
)
async def test_a_port_that_answers_byte_by_byte_has_a_deadline_for_all(begin):
    ended = asyncio.Event()

    async def slow(reader, writer):
        with suppress(ConnectionError):
            writer.write(begin)
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)
        ended.set()
        writer.close()

    async with await asyncio.start_server(slow, "127.0.0.1", 0) as server:
        number = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(HANG):
            with pytest.raises(ask.NoAnswer, match=r"none within 0\.3 s"):
                await ask.by_port(Address("127.0.0.1", number), None, 0.3)
            await ended.wait()
