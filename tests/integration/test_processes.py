"""`evbus run --processes` on RabbitMQ: workers are killed and replaced while events come."""

import asyncio
import json
import os
import signal
import textwrap
import time
from collections import Counter
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from evbus_like.testing import eventually
from tests.integration.commands import read_line_with, start_evbus, wait_for_end, write_credentials
from tests.integration.test_amqp_source import publishing

WORKERS = 4
BURST = 5  # events each 10 ms, at most
HANDLER = """
    import asyncio, json, os, time
    import evbus_like.handlers as evbus

    NOTES = os.open("notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @evbus.handler("SERVICE", "placed")
    async def ship(hub, event):
        await asyncio.sleep(0.01)
        note = {"body": event.body, "redelivered": event.redelivered, "pid": os.getpid(), "time": time.time()}
        os.write(NOTES, (json.dumps(note) + "\\n").encode())
"""


@pytest.fixture
async def workers(tmp_path, rabbitmq, fresh_name, monkeypatch):
    """Start `evbus run` with workers that note what they handle, and give the process and the pids of the workers."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "shop" / "handler").mkdir(parents=True)
    (tmp_path / "shop" / "conf.py").write_text('DYNE = {"handler": ["handler"]}\n')
    handler = textwrap.dedent(HANDLER).replace("SERVICE", fresh_name)
    (tmp_path / "shop" / "handler" / "shipping.py").write_text(handler)
    write_credentials(tmp_path, {"amqp": {"default": {"connection": {"url": rabbitmq.url}}}})
    process = start_evbus(tmp_path, "run", "--json", "--processes", str(WORKERS))
    try:
        line = json.loads(await read_line_with(process, process.stdout, '"event": "receiving"'))
        yield process, [each["pid"] for each in line["workers"]]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@asynccontextmanager
async def events(url, service):
    """Publish numbered events, up to 500 a second, while the block runs; gives the times at which each of them was."""
    published = []

    async def publish_on():
        async with publishing(url, service) as publish:
            while True:
                for _ in range(BURST):
                    await publish("placed", len(published))
                    published.append(time.time())
                await asyncio.sleep(0.01)

    publisher = asyncio.create_task(publish_on())
    try:
        yield published
    finally:
        publisher.cancel()
        await asyncio.wait([publisher])


def notes(folder):
    """What was handled, in order."""
    path = folder / "notes"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def all_handled(folder, published):
    """Wait until every event is handled; assert that those that were handled twice were announced as redelivered."""
    numbers = set(range(len(published)))
    await eventually(lambda: {note["body"] for note in notes(folder)} >= numbers, timeout=60)
    found = notes(folder)
    counts = Counter(note["body"] for note in found)
    announced = {note["body"] for note in found if note["redelivered"]}
    assert not [body for body, count in counts.items() if count > 1 and body not in announced]
    return found


def longest_pause(times):
    """The longest time between two of these times."""
    return max(later - earlier for earlier, later in pairwise(sorted(times)))


async def test_a_rolling_restart_under_load_loses_no_event_repeats_none_and_never_pauses_for_a_second(
    workers, tmp_path, rabbitmq, fresh_name, record_property
):
    process, before = workers
    async with events(rabbitmq.url, fresh_name) as published:
        await eventually(lambda: len(notes(tmp_path)) > 20, timeout=60)
        process.send_signal(signal.SIGUSR1)
        await read_line_with(process, process.stderr, f"all {WORKERS} workers are replaced", within=240)
        handled = len(notes(tmp_path))
        await eventually(lambda: len(notes(tmp_path)) > handled + 20, timeout=60)
    found = await all_handled(tmp_path, published)
    process.terminate()
    code, out, err = await wait_for_end(process)

    assert code == 0, err
    assert not {note["pid"] for note in found[handled + 10 :]} & set(before)
    stopped = json.loads(out.splitlines()[-1])
    assert stopped["workers_killed"] == 0
    assert stopped["handlers"][0]["handled"] == len(found)  # also what those have handled that were replaced
    # No second passed without an event, but for the time in which none was published
    handled = longest_pause(note["time"] for note in found)
    assert handled < 1.0 + longest_pause(published)
    assert len(found) == len({note["body"] for note in found})
    record_property("costs", f"{len(found)} events, none for {handled:.2f} s at most")


async def test_what_a_killed_worker_had_comes_again(workers, tmp_path, rabbitmq, fresh_name):
    process, before = workers
    async with events(rabbitmq.url, fresh_name) as published:
        await eventually(lambda: len(notes(tmp_path)) > 20, timeout=60)
        for pid in before[:2]:
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: len({note["pid"] for note in notes(tmp_path)} - set(before)) == 2, timeout=60)
    await all_handled(tmp_path, published)
    process.terminate()

    assert (await wait_for_end(process))[0] == 0
