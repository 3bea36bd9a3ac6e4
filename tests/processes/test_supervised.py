"""`evbus run --processes N`: a supervisor and its workers as real processes, in the folder of an application."""

import asyncio
import json
import os
import shutil
import signal
import time

import pytest

from tests.integration.commands import APPS, evbus, read_line_with, start_evbus, wait_for_end, write_credentials

HANDLER = """
import asyncio, os
import evbus_like.handlers as evbus

@evbus.handler("orders", "order_placed")
async def ship(hub, event):
    if event.body == "slow":
        await asyncio.sleep(1.0)
    print("handled by", os.getpid(), flush=True)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with an application of one handler and a source that reads the file events."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    shutil.copytree(APPS / "pigeons", tmp_path / "pigeons")
    (tmp_path / "shop" / "handler").mkdir(parents=True)
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "conf.py").write_text('DYNE = {"handler": ["handler"]}\n')
    (tmp_path / "shop" / "handler" / "shipping.py").write_text(HANDLER)
    (tmp_path / "events").touch()
    write_credentials(tmp_path, {"pigeon": {"default": {"path": "events"}}})
    return tmp_path


def event(folder, body=None):
    with (folder / "events").open("a") as events:
        events.write(json.dumps({"type": "order_placed", "body": body}) + "\n")


@pytest.fixture
def running(folder):
    """Start `evbus run --json`, and leave no process behind."""
    started = []

    def start(*arguments):
        started.append(start_evbus(folder, "run", "--json", *arguments))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


async def told(process, event):
    """Read the output until a line tells of an event, and return it."""
    return json.loads(await read_line_with(process, process.stdout, f'"event": "{event}"'))


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_workers_are_restarted_reloaded_replaced_and_stopped_as_one(folder, running):
    process = running("--processes", "2")
    receiving = await told(process, "receiving")
    first, second = [each["pid"] for each in receiving["workers"]]
    assert [each["worker"] for each in receiving["workers"]] == [1, 2]
    assert receiving["handlers"][0]["handler"] == "shipping.ship"

    os.kill(first, signal.SIGKILL)
    await read_line_with(process, process.stderr, f"worker 1 (process {first}) was killed by SIGKILL; a new one starts")

    process.send_signal(signal.SIGHUP)
    await read_line_with(process, process.stderr, "worker 2: SIGHUP: the profiles are reloaded")

    process.send_signal(signal.SIGUSR1)
    await read_line_with(process, process.stderr, "all 2 workers are replaced")
    assert not alive(second)

    process.terminate()
    code, out, err = await wait_for_end(process)
    stopping, stopped = map(json.loads, out.splitlines())
    assert stopping == {"event": "stopping", "reason": "SIGTERM"}
    assert (stopped["event"], stopped["exit_code"], code) == ("stopped", 0, 0), err
    assert stopped["workers_killed"] in (0, 1)
    assert stopped["handlers"][0]["handler"] == "shipping.ship"


async def test_workers_drain_and_end_when_their_supervisor_is_killed(folder, running):
    process = running("--processes", "2")
    workers = [each["pid"] for each in (await told(process, "receiving"))["workers"]]

    process.kill()
    await until(lambda: not any(map(alive, workers)))

    _, err = await asyncio.to_thread(process.communicate, timeout=60)
    assert "worker 2: the supervisor has ended, and this worker stops" in err


async def test_a_mistake_is_named_once_and_no_second_worker_is_started(folder):
    (folder / "shop" / "handler" / "shipping.py").write_text(HANDLER.replace("(hub, event)", "(hub)"))

    code, out, err = await evbus(folder, "run", "--processes", "3")

    assert code == 2, err
    assert err.count("it takes no event") == 1
    assert out == ""


async def test_a_number_of_processes_that_cannot_be_is_refused(folder):
    code, _, err = await evbus(folder, "run", "--processes=-1")

    assert code == 2
    assert "setting processes must be a whole number of processes from 1 to 256, or auto, not '-1'" in err
