"""evbus/http.py: the HTTP port of a bus, read over a real socket."""

import asyncio
import json
import sys
import time
import urllib.request
from contextlib import suppress

import msgspec
import pytest

from evbus_like.engine.errors import LifecycleError, SettingError
from evbus_like.hub import monitoring
from evbus_like.monitor import connection, document, folder, stream
from evbus_like.monitor.ask import by_socket
from evbus_like.testing import eventually
from tests.unit.fakes import HANG

TOKEN = "0123456789abcdef"
GONE = {"url": "amqp://user:hidden-password@127.0.0.1:1/"}


async def ask(url, path, *headers, method="GET"):
    """Send a request, and give the status, the headers and the body of the answer."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    async with asyncio.timeout(HANG):
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        lines = [f"{method} {path} HTTP/1.1", *({f"Host: {host}"} if "Host" not in str(headers) else ()), *headers]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        answer = (await reader.read()).decode()
        writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), head, body


@pytest.fixture
async def port(hub):
    """A function that opens the port of the hub."""

    async def opened(address="0", **options):
        return await hub.evbus.http.start(address, **options)

    yield opened
    async with asyncio.timeout(HANG):
        await hub.evbus.http.stop()


async def test_it_is_live_before_the_bus_runs_and_ready_while_it_does(hub, start, port):
    url = await port()
    assert (await ask(url, "/live"))[::2] == (200, "alive\n")
    assert (await ask(url, "/ready"))[::2] == (503, "not ready:\n- the bus is not started yet\n")

    await start()
    assert (await ask(url, "/ready"))[::2] == (200, "ready\n")


async def test_a_port_that_is_closed_leaves_evbus_status_its_socket(hub, port, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    await monitoring.of(hub).open_socket()
    await port()
    await hub.evbus.http.stop()

    (path,) = folder.sockets(monitoring.sockets())
    assert (await by_socket(path, HANG))["processes"][0]["bus"]["state"] == "new"
    await monitoring.of(hub).close()
    assert not list(folder.sockets(monitoring.sockets()))


async def test_it_says_in_words_and_json_why_it_is_not_ready(hub, start, port):
    await start({"internal": {"default": None}, "amqp": {"away": {"connection": GONE}}})
    url = await port()
    await eventually(lambda: hub.evbus.init.status()["destinations"]["amqp:away"]["state"] == "retrying", HANG)

    code, _, words = await ask(url, "/ready")
    assert code == 503
    assert "destination amqp:away is retrying: " in words
    code, _, found = await ask(url, "/ready", "Accept: application/json")
    assert code == 503
    assert json.loads(found)["ready"] is False
    assert json.loads(found)["reasons"][0] in words
    assert "hidden-password" not in words + found


async def test_the_status_has_the_numbers_of_the_account_and_fits_its_schema(hub, start, port):
    await start({"internal": {"default": None}, "amqp": {"away": {"connection": GONE}}})
    url = await port()
    for _ in range(3):
        await hub.evbus.broker.put(body=1, confirm="delivered", profile="default")

    code, head, body = await ask(url, "/status")
    found = json.loads(body)
    assert code == 200
    assert "application/json" in head
    (process,) = found["processes"]
    assert process["bus"]["destinations"]["internal:default"]["delivered"] == 3
    assert set(process["bus"]["destinations"]["internal:default"]) == set(document.Destination.__annotations__)
    assert set(process) == set(document.Process.__annotations__)
    assert set(process["bus"]) == set(document.Bus.__annotations__)
    msgspec.convert(found, document.Status)
    assert json.loads((await ask(url, "/status/schema"))[2])["$defs"].keys() >= {"Process", "Destination"}


async def test_a_stop_of_the_bus_closes_the_port(hub, start, port):
    await start()
    url = await port()
    await hub.evbus.init.stop()

    await eventually(lambda: not hub.evbus.STARTED, HANG)
    await asyncio.sleep(0.05)
    with pytest.raises(ConnectionError):
        await ask(url, "/live")


async def test_with_a_token_only_probes_are_answered_without_it(hub, start, port):
    await start({"amqp": {"away": {"connection": GONE}}})
    url = await port(token=TOKEN)

    assert (await ask(url, "/live"))[0] == 200
    code, _, words = await ask(url, "/ready")
    assert (code, "away" in words) == (503, False)
    code, head, words = await ask(url, "/status")
    assert (code, "a token is needed" in words, "WWW-Authenticate: Bearer" in head) == (401, True, True)
    code, _, words = await ask(url, "/status", "Authorization: Bearer wrong")
    assert (code, "the token is wrong" in words) == (401, True)
    assert (await ask(url, "/status", f"Authorization: Bearer {TOKEN}"))[0] == 200


async def test_it_is_read_only_and_names_its_pages(port):
    url = await port()

    assert (await ask(url, "/status", "Content-Length: 0", method="POST"))[0] == 405
    for path in ("/status", "/events"):
        assert (await ask(url, path, method="HEAD"))[::2] == (200, "")
    code, _, words = await ask(url, "/no-such-page")
    assert (code, "/ready" in words) == (404, True)
    assert (await ask(url, "/status", "Host: evil.example"))[0] == 403


async def test_a_port_in_use_and_a_second_start_are_refused_in_words(hub, port):
    url = await port()
    with pytest.raises(LifecycleError, match="open already"):
        await port()
    await hub.evbus.http.stop()

    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    number = taken.sockets[0].getsockname()[1]
    with pytest.raises(SettingError, match=f"127.0.0.1:{number} is in use"):
        await port(str(number))
    taken.close()
    assert await port() != url  # a failed start leaves nothing behind
    await hub.evbus.http.stop()
    with pytest.raises(SettingError, match="no host"):
        await port("no-such-host.invalid:1", open_to_all=True)


@pytest.mark.parametrize("library", ["h11", "prometheus_client"])
async def test_without_its_libraries_it_says_what_to_install(monkeypatch, port, library):
    monkeypatch.setitem(sys.modules, library, None)

    with pytest.raises(SettingError, match=r"pip install 'evbus-like\[http\]'"):
        await port()


async def test_a_client_that_sends_no_whole_request_is_cut_off(monkeypatch, port):
    monkeypatch.setattr(connection, "WITHIN", 0.2)
    url = await port()
    async with asyncio.timeout(HANG):
        for sent in (b"", b"GET /live HTTP/1.1\r\nHost: loc"):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(sent)
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()

    assert (await ask(url, "/live"))[0] == 200


async def test_a_request_that_is_too_long_or_no_http_is_refused_and_does_not_fill_the_log(port, caplog):
    url = await port()

    assert (await ask(url, "/" + "x" * 10_000))[0] == 400
    assert (await ask(url, "/live", "X: " + "x" * 10_000))[0] == 400
    assert (await ask(url, "/live", method="NO\x00PE"))[0] == 400
    assert not caplog.records


async def test_a_request_that_comes_in_pieces_is_answered_once_it_is_whole(port):
    url = await port()
    async with asyncio.timeout(HANG):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        for piece in (b"GET /li", b"ve?now=1 HTTP/1.1\r\nHost: local", b"host\r\n", b"\r\n"):
            writer.write(piece)
            await asyncio.sleep(0.02)
        answer = await reader.read()
        writer.close()

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nalive\n")


async def test_one_connection_is_for_one_request_and_a_body_is_not_read(port):
    url = await port()
    following = ("Host: localhost", "", "GET /live HTTP/1.1", "Host: localhost")
    assert (await ask(url, "/live", *following))[::2] == (200, "alive\n")
    assert (await ask(url, "/live", "Content-Length: 4", "", "body", method="PUT"))[0] == 405


async def test_a_client_of_http_1_0_gets_the_stream_without_chunks(hub, start, port):
    await start()
    url = await port()
    async with asyncio.timeout(HANG):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET /events HTTP/1.0\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"chunked" not in head.lower()
        assert await reader.readexactly(len(stream.BEGIN)) == stream.BEGIN
        await document_of(reader)
        writer.close()


async def test_an_answer_that_fails_is_500_and_says_so_in_the_log(hub, port, monkeypatch, caplog):
    url = await port()
    monkeypatch.setattr(hub.evbus.RUNTIME.monitor, "process", lambda: 1 / 0)
    assert (await ask(url, "/status"))[0] == 500
    assert "could not answer /status" in caplog.text
    assert (await ask(url, "/live"))[0] == 200


async def test_more_connections_than_it_takes_are_refused_and_others_go_on(monkeypatch, port):
    monkeypatch.setattr(connection, "MOST", 3)
    url = await port()
    async with asyncio.timeout(HANG):
        held = [await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2])) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert (await ask(url, "/live"))[::2] == (503, connection.FULL)
        held.pop()[1].close()
        while (await ask(url, "/live"))[0] != 200:  # noqa: ASYNC110 (each look is a request)
            await asyncio.sleep(0.01)
        for _, writer in held:
            writer.close()


async def follow(url, *headers):
    """Open /events, and give the reader and the writer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write("\r\n".join(["GET /events HTTP/1.1", "Host: localhost", *headers, "", ""]).encode())
    return reader, writer


async def document_of(reader):
    """Read until a document comes, and give it."""
    async with asyncio.timeout(HANG):
        while not (line := await reader.readline()).startswith(b"data: "):
            assert line, "the stream has ended"
        return json.loads(line.removeprefix(b"data: "))


async def test_a_hundred_clients_follow_and_the_next_one_is_told_that_it_is_too_many(hub, start, port):
    await start()
    url = await port()
    clients = [await follow(url) for _ in range(100)]
    found = await asyncio.gather(*(document_of(reader) for reader, _ in clients))

    assert {each["processes"][0]["bus"]["state"] for each in found} == {"running"}
    assert (await ask(url, "/events"))[0] == 503
    assert json.loads((await ask(url, "/status"))[2])["readers"]["following"] == 100
    for _, writer in clients:
        writer.close()

    async with asyncio.timeout(HANG):
        while json.loads((await ask(url, "/status"))[2])["readers"]["following"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_the_stream_needs_the_token_and_ends_when_the_port_closes(hub, start, port):
    await start()
    url = await port(token=TOKEN)
    assert (await ask(url, "/events"))[0] == 401

    reader, writer = await follow(url, f"Authorization: Bearer {TOKEN}")
    await document_of(reader)
    async with asyncio.timeout(HANG):
        await hub.evbus.http.stop()
        await reader.read()
    writer.close()


async def test_a_client_that_reads_nothing_is_dropped_and_events_go_on(hub, start, port, monkeypatch):
    monkeypatch.setattr(stream, "WITHIN", 0.3)
    monkeypatch.setattr(stream, "EVERY", 0.01)
    await start({"internal": {f"profile-{number}": None for number in range(300)}})
    url = await port()
    _, writer = await follow(url)

    async def dropped():
        return json.loads((await ask(url, "/status"))[2])["readers"]["dropped"]

    async with asyncio.timeout(HANG * 2):
        while not await dropped():
            await hub.evbus.broker.put("k", 1, profile="profile-1", confirm="delivered")
            await asyncio.sleep(0.05)
    writer.close()


async def test_a_scrape_while_the_loop_is_busy_is_answered_after_it(hub, start, port):
    await start()
    url = await port()
    answer = asyncio.create_task(
        asyncio.to_thread(lambda: urllib.request.urlopen(f"{url}/metrics", timeout=HANG).read())
    )
    await asyncio.sleep(0.02)
    time.sleep(0.5)  # noqa: ASYNC251 (it is what blocks the loop)

    assert b"evbus_ready 1.0" in await asyncio.wait_for(answer, HANG)


async def test_the_port_may_be_a_number_in_the_settings(hub, start):
    await start(http=0, http_token=TOKEN)
    url = await hub.evbus.http.start()

    assert (await ask(url, "/status"))[0] == 401
