"""evbus_like.workers: a program with a main of its own, in several processes, and what a service manager is told."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest

from tests.integration.commands import read_line_with, wait_for_end

DEADLINE = 60
PROGRAM = """
import asyncio, os, signal, sys
from evbus_like import workers

def tell(line):
    os.write(1, line.encode() + b"\\n")  # whole: other workers write, too

async def main():
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    tell(f"ready {workers.number()} {os.getpid()}")
    workers.ready()
    await stopped.wait()
    tell(f"ended {workers.number()}")

sys.exit(workers.run(main, PROCESSES, stop_timeout=20))
"""


@pytest.fixture
def manager():
    """The socket of a service manager, with an abstract address; gives it and its name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        name = f"evbus-test-{os.getpid()}-{time.monotonic_ns()}"
        listening.bind(f"\0{name}")
        listening.settimeout(DEADLINE)
        yield listening, f"@{name}"


@pytest.fixture
def start(tmp_path):
    """Start the program with so many processes, and leave none behind."""
    started = []

    def run(processes, **more):
        path = tmp_path / "program.py"
        path.write_text(textwrap.dedent(PROGRAM.replace("PROCESSES", repr(processes))))
        started.append(
            subprocess.Popen(
                [sys.executable, str(path)],
                env={**os.environ, **more},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


async def ready(process):
    """Wait until a worker is ready, and return its number and its pid."""
    _, number, pid = (await read_line_with(process, process.stdout, "ready")).split()
    return number, int(pid)


async def told(manager, text):
    """Read what the service manager is told until a message has the text."""
    while text not in (message := (await asyncio.to_thread(manager.recv, 4096)).decode().splitlines()):
        pass
    return message


async def test_the_workers_are_restarted_replaced_and_stopped(start):
    process = start(2)
    assert [(await ready(process))[0] for _ in range(1)] == ["1"]
    number, pid = await ready(process)
    assert number == "2"

    os.kill(pid, signal.SIGKILL)
    assert (await ready(process))[0] == "2"

    process.send_signal(signal.SIGUSR1)
    lines = [(await asyncio.to_thread(process.stdout.readline)).split()[:2] for _ in range(4)]
    assert lines == [["ended", "1"], ["ready", "1"], ["ended", "2"], ["ready", "2"]]

    process.terminate()
    code, out, err = await wait_for_end(process)
    assert (code, sorted(out.splitlines())) == (0, ["ended 1", "ended 2"]), err


async def test_the_service_manager_is_told_when_all_are_ready_when_they_reload_and_when_they_stop(start, manager):
    listening, address = manager
    process = start(2, NOTIFY_SOCKET=address, WATCHDOG_USEC="200000")
    await told(listening, "EXTEND_TIMEOUT_USEC=30000000")
    message = await told(listening, "READY=1")
    assert message == ["READY=1", "STATUS=2 of 2 workers receive; they have handled 0 events"]
    await told(listening, "WATCHDOG=1")

    process.send_signal(signal.SIGHUP)
    assert (await told(listening, "RELOADING=1"))[1].startswith("MONOTONIC_USEC=")

    process.terminate()
    assert "STATUS=stopping" in await told(listening, "STOPPING=1")
    assert (await wait_for_end(process))[0] == 0


async def test_a_program_without_workers_tells_the_service_manager_too(start, manager):
    listening, address = manager
    process = start(None, NOTIFY_SOCKET=address)
    assert (await ready(process))[0] == "None"
    await told(listening, "READY=1")

    process.terminate()
    assert (await wait_for_end(process))[0] == 0


async def test_an_address_where_nobody_listens_is_no_reason_to_fail(start):
    process = start(1, NOTIFY_SOCKET="/nowhere/at/all")
    await ready(process)

    process.terminate()
    code, _, err = await wait_for_end(process)
    assert code == 0
    assert err.count("the service manager cannot be told at NOTIFY_SOCKET=/nowhere/at/all") == 1
