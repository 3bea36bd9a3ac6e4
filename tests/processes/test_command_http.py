"""`evbus run --http` and `evbus status`: a running process seen from outside, as an operator sees it."""

import asyncio
import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import urllib.request
from contextlib import asynccontextmanager

import pytest

from tests.integration.commands import (
    EVBUS,
    environment,
    evbus,
    read_line_with,
    start_evbus,
    wait_for_end,
    write_credentials,
)

WITHIN = 30  # seconds for an answer, on a busy machine


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with an application of one handler, in memory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "shop" / "handler").mkdir(parents=True)
    (tmp_path / "shop" / "conf.py").write_text('DYNE = {"handler": ["handler"]}\n')
    (tmp_path / "shop" / "handler" / "shipping.py").write_text(
        "import evbus_like.handlers as evbus\n\n"
        '@evbus.handler("orders", "placed")\nasync def ship(hub, event):\n    pass\n'
    )
    return tmp_path


@asynccontextmanager
async def running(folder, *arguments, credentials=False):
    """A process that runs, and what it said when it started."""
    process = start_evbus(folder, "run", "--json", *arguments, credentials=credentials)
    try:
        started = json.loads(await read_line_with(process, process.stdout, '"event": "started"'))
        yield process, started
        process.terminate()
        code, _, err = await wait_for_end(process)
        assert code == 0, err
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


async def read(url):
    def answer():
        with urllib.request.urlopen(url, timeout=WITHIN) as opened:
            return opened.read().decode()

    return await asyncio.to_thread(answer)


async def test_run_opens_the_port_and_says_where(folder):
    async with running(folder, "--http", "0") as (process, started):
        await read_line_with(process, process.stderr, f"HTTP port {started['http']}")
        await read_line_with(process, process.stdout, '"event": "receiving"')
        assert await read(f"{started['http']}/ready") == "ready\n"
        (seen,) = json.loads(await read(f"{started['http']}/status"))["processes"]
        assert (seen["pid"], seen["application"].split("-")[0]) == (process.pid, folder.name.split("-")[0])
        assert [each["handler"] for each in seen["handlers"].values()] == ["shipping.ship"]


@pytest.mark.parametrize(("address", "problem"), [("taken", "is in use"), ("0.0.0.0:0", "EVBUS_HTTP_TOKEN")])
async def test_a_port_that_cannot_be_had_starts_nothing(folder, address, problem):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = str(taken.getsockname()[1]) if address == "taken" else address
        code, out, err = await evbus(folder, "run", "--http", address, credentials=False)

    assert (code, out) == (2, "")
    assert problem in err
    assert "Traceback" not in err


async def test_status_finds_what_runs_without_a_port(folder):
    code, out, err = await evbus(folder, "status", credentials=False)
    assert (code, out) == (2, "")
    assert "no `evbus run` of user" in err

    async with running(folder) as (process, _):
        await read_line_with(process, process.stdout, '"event": "receiving"')
        code, out, _ = await evbus(folder, "status", credentials=False)
        assert code == 0
        assert f"process {process.pid}, running" in out
        assert "shipping.ship on internal:default" in out
        code, out, _ = await evbus(folder, "status", "--json", credentials=False)
        assert (code, json.loads(out)["processes"][0]["pid"]) == (0, process.pid)
        process.send_signal(signal.SIGSTOP)
        code, _, err = await evbus(folder, "status", credentials=False)
        process.send_signal(signal.SIGCONT)
        assert (code, "is its event loop stuck, or the process stopped?" in err) == (2, True)
    assert list((folder / "state/evbus_like/running").iterdir()) == []


async def test_status_reads_a_port_with_its_token_and_says_what_is_not_ready(folder):
    gone = {"connection": {"url": "amqp://127.0.0.1:1/"}}
    write_credentials(folder, {"internal": {"default": None}, "amqp": {"away": gone}})
    (folder / "settings.yml").write_text("evbus_like: {http_token: 0123456789abcdef}\n")
    async with running(folder, "--http", "0", "--config", "settings.yml", credentials=True) as (_, started):
        port = started["http"].rpartition(":")[2]
        code, out, _ = await evbus(folder, "status", "--http", port, "--config", "settings.yml")
        assert (code, "destination amqp:away is " in out) == (1, True)
        code, _, err = await evbus(folder, "status", "--http", port)
        assert (code, "refuses: 401 a token is needed" in err) == (2, True)


async def test_status_watches_until_a_signal_also_through_a_restart(folder):
    watching = start_evbus(folder, "status", "--watch", "--json", credentials=False)
    try:
        await read_line_with(watching, watching.stderr, "no `evbus run` of user")
        async with running(folder) as (process, _):
            found = json.loads(await read_line_with(watching, watching.stdout, '"processes"'))
            assert found["processes"][0]["pid"] == process.pid
        await read_line_with(watching, watching.stderr, "no `evbus run` of user")
        watching.send_signal(signal.SIGINT)
        assert (await wait_for_end(watching))[0] == 0
    finally:
        if watching.poll() is None:
            watching.kill()
        watching.communicate()


async def test_one_port_shows_all_workers_each_with_its_number(folder):
    process = start_evbus(folder, "run", "--json", "--processes", "2", "--http", "0", credentials=False)
    try:
        receiving = json.loads(await read_line_with(process, process.stdout, '"event": "receiving"'))
        assert await read(f"{receiving['http']}/ready") == "ready\n"
        found = json.loads(await read(f"{receiving['http']}/status"))["processes"]
        assert [{"worker": each["worker"], "pid": each["pid"]} for each in found] == receiving["workers"]
        text = await read(f"{receiving['http']}/metrics")
        assert 'evbus_bus_running{worker="1"} 1.0' in text
        assert 'evbus_bus_running{worker="2"} 1.0' in text
        interface = json.loads(await read(f"{receiving['http']}/interface"))
        assert [each["handler"] for each in interface["handlers"]] == ["shipping.ship"]
        code, out, _ = await evbus(folder, "status", "--json", credentials=False)
        assert (code, [each["worker"] for each in json.loads(out)["processes"]]) == (0, [1, 2])
        process.terminate()
        code, _, err = await wait_for_end(process)
        assert code == 0, err
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
    assert list((folder / "state/evbus_like/running").iterdir()) == []


class Terminal:
    """`evbus top` on a terminal of its own, 60 cells wide."""

    def __init__(self, folder):
        self.ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 60, 0, 0))
        self.before = termios.tcgetattr(theirs)
        command = [EVBUS, "top"]
        own = {**environment(credentials=False), "TERM": "dumb"}
        self.process = subprocess.Popen(command, cwd=folder, env=own, stdin=theirs, stdout=theirs, stderr=theirs)
        self.theirs, self.text = theirs, ""

    async def until(self, text):
        """Read until the terminal was sent a text; gives all since then."""
        async with asyncio.timeout(WITHIN):
            while text not in self.text:
                ready = await asyncio.to_thread(select.select, [self.ours], [], [], 0.2)
                if ready[0]:
                    self.text += os.read(self.ours, 65536).decode()
        before, _, self.text = self.text.partition(text)
        return before

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WITHIN)
        os.close(self.ours)
        os.close(self.theirs)


async def test_top_shows_it_live_on_a_narrow_terminal_without_colour_and_leaves_it_as_it_was(folder):
    async with running(folder):
        terminal = Terminal(folder)
        try:
            await terminal.until("evbus top: 1 process, ready")
            await terminal.until("shipping.ship on")
            await terminal.until("evbus top: 1 process")  # it is drawn again by itself
            os.write(terminal.ours, b"w")
            drawn = await terminal.until("q quit")
            assert "\x1b[3" not in drawn
            os.write(terminal.ours, b"q")
            await terminal.until("\x1b[?1049l")
            assert await asyncio.to_thread(terminal.process.wait, WITHIN) == 0
            assert termios.tcgetattr(terminal.theirs) == terminal.before
        finally:
            terminal.close()


async def test_top_without_a_terminal_or_with_nothing_to_show_says_so(folder):
    code, _, err = await evbus(folder, "top", credentials=False)
    assert (code, "top needs a terminal" in err) == (2, True)

    terminal = Terminal(folder)
    try:
        await terminal.until("no `evbus run` of user")
        assert await asyncio.to_thread(terminal.process.wait, WITHIN) == 2
    finally:
        terminal.close()


WATCHED = """
import asyncio, gc, json
import pop.hub


def objects():
    gc.collect()
    return len(gc.get_objects())


async def main():
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    listener = asyncio.create_task(hub.evbus.init.start({"internal": {"default": None}}))
    await hub.evbus.init.join()
    found = [objects()]
    url = await hub.evbus.http.start("0")
    found.append(objects())
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(b"GET /metrics HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    assert b"evbus_ready 1.0" in await reader.read()
    writer.close()
    found.append(objects())
    await hub.evbus.init.stop()
    await listener
    print(json.dumps(found))


asyncio.run(main())
"""


async def test_a_port_adds_little_to_what_the_garbage_collector_goes_through():
    command = [sys.executable, "-c", WATCHED]
    ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=WITHIN)
    before, opened, scraped = json.loads(ran.stdout)

    # A bus under load makes the collector look at all objects ten times a second. There were 20,000 more with aiohttp.
    assert opened - before < 4_000
    assert scraped - before < 9_000
