"""Any worker of an application cancels an event that another one is to send later."""

import time

import pytest

from evbus_like.engine.event import Event
from evbus_like.engine.outbox import Outbox, OutboxLocked, elsewhere
from evbus_like.engine.outbox.inspect import scheduled
from tests.integration.commands import read_line_with, start_evbus, wait_for_end, write_credentials

FILES = {
    "conf.py": 'DYNE = {"handler": ["handler"], "lifespan": ["lifespan"]}\n',
    "handler/orders.py": """
import evbus_like.handlers as evbus

@evbus.handler("orders", "placed")
async def ship(hub, event):
    pass
""",
    "lifespan/plans.py": """
import asyncio, os, pathlib

async def start(hub):
    hub.PLANNING = asyncio.create_task(plan(hub))

async def plan(hub):
    await hub.evbus.init.join()
    receipt = await hub.evbus.broker.put("later", 1, delay=3600)
    mine = pathlib.Path(f"id-{os.getpid()}")
    mine.with_suffix(".part").write_text(receipt.schedule_id)
    mine.with_suffix(".part").rename(mine)
    while not (others := [each for each in pathlib.Path().glob("id-*[0-9]") if each != mine]):
        await asyncio.sleep(0.05)
    cancel = hub.evbus.broker.cancel
    done = [await cancel(others[0].read_text()), await cancel("nobody")]
    print("cancelled", *done, flush=True)
""",
}


async def test_workers_cancel_each_others_events(tmp_path, monkeypatch):
    for name, text in FILES.items():
        place = tmp_path / "shop" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    write_credentials(tmp_path, {"internal": {"default": {"outbox": "always"}}})
    process = start_evbus(tmp_path, "run", "--processes", "2", "--json")
    try:
        for _ in range(2):
            await read_line_with(process, process.stderr, "cancelled True False")
        process.terminate()
        code, _, err = await wait_for_end(process)
        assert code == 0, err
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
    files = sorted((tmp_path / "state").rglob("outbox*.sqlite"))
    assert [scheduled(each) for each in files] == [[], []]


async def test_an_event_of_a_worker_that_has_ended_is_cancelled_in_its_file(tmp_path):
    path = tmp_path / "outbox.worker-3.sqlite"
    left = Outbox(path)
    left.open()
    event = Event("later", b"1", "default")
    event.content_type = "application/json"
    await left.schedule(time.time() + 3600, [(event, ("internal:default",))])
    with pytest.raises(OutboxLocked, match="cancel it again"):  # opened, and takes no requests yet
        await elsewhere.cancel(path, event.id)
    await left.close()
    assert await elsewhere.cancel(path, "another") is False
    assert await elsewhere.cancel(path, event.id) is True
    assert scheduled(path) == []
