"""hub/pauses.py: what an operator pauses stops in every process, also after a restart, and loses nothing."""

import asyncio
import json
import os
import stat

import pytest

from evbus_like.engine.errors import StorageError
from evbus_like.hub import pauses
from evbus_like.testing import eventually, running
from tests.unit.fakes import HANG

SHIP = """
    @evbus.handler("orders", "placed")
    async def ship(hub, event):
        hub.SEEN.append(event.body)

    @evbus.handler("orders", "placed")
    async def bill(hub, event):
        hub.SEEN.append(f"bill {event.body}")
"""


@pytest.fixture(autouse=True)
def soon(monkeypatch, tmp_path):
    monkeypatch.setattr(pauses, "LOOK_EVERY", 0.02)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def state_of(hub, name):
    return next(each for each in hub.evbus.handlers.status().values() if each["handler"] == name)


async def test_a_paused_handler_gets_nothing_and_gets_it_all_when_it_is_resumed(app):
    async with running({"internal": {"default": None}}, app(handler__shipping=SHIP)) as hub:
        await hub.evbus.handlers.start()
        await hub.evbus.handlers.join(HANG)
        pauses.change(pauses.path(hub), pause=["shipping.ship"], reason="no paper")
        await eventually(lambda: state_of(hub, "shipping.ship")["state"] == "paused")
        assert "(no paper); `evbus resume shipping.ship` ends that" in state_of(hub, "shipping.ship")["trouble"]
        for number in range(3):
            await hub.evbus.broker.dispatch("orders", "placed", number)
        await eventually(lambda: len(hub.SEEN) == 3)
        assert hub.SEEN == ["bill 0", "bill 1", "bill 2"]
        pauses.change(pauses.path(hub), resume=["shipping.ship"])
        await eventually(lambda: len(hub.SEEN) == 6)
        assert hub.SEEN[3:] == [0, 1, 2]
        assert state_of(hub, "shipping.ship")["state"] == "open"


async def test_what_is_paused_is_so_from_the_start_on_and_a_join_does_not_wait_for_it(app):
    hub = app(handler__shipping=SHIP)
    pauses.change(pauses.path(hub), pause=["shipping"])
    async with running({"internal": {"default": None}}, hub):
        await hub.evbus.handlers.start()
        await hub.evbus.handlers.join(HANG)
        assert {each["state"] for each in hub.evbus.handlers.status().values()} == {"paused"}


async def test_the_handler_under_way_is_finished_and_what_is_not_begun_goes_back(app):
    source = """
    @evbus.handler("orders", "placed", max_workers=1, prefetch=10)
    async def ship(hub, event):
        hub.SEEN.append(event.body)
        await hub.GATE.wait()
        hub.SEEN.append(f"done {event.body}")
    """
    hub = app(handler__shipping=source)
    hub.GATE = asyncio.Event()
    async with running({"internal": {"default": None}}, hub):
        await hub.evbus.handlers.start()
        await hub.evbus.handlers.join(HANG)
        for number in range(3):
            await hub.evbus.broker.dispatch("orders", "placed", number)
        await eventually(lambda: hub.SEEN)
        pauses.change(pauses.path(hub), pause=["shipping.ship"])
        (consumer,) = hub.evbus.RUNTIME.handlers.consumers
        await eventually(lambda: consumer._paused and not consumer.pool._queue._ready)  # what is not begun has left it
        hub.GATE.set()
        await eventually(lambda: state_of(hub, "shipping.ship")["state"] == "paused")
        assert hub.SEEN == [0, "done 0"]
        queue = await hub.ingress.internal.get("evt-orders-placed--shipping.ship")
        assert queue.qsize() == 2
        pauses.change(pauses.path(hub), resume=["shipping.ship"])
        await eventually(lambda: len(hub.SEEN) == 6)


@pytest.mark.parametrize("options", [{}, {"outbox": "always"}], ids=["memory", "durable"])
async def test_a_paused_destination_gets_nothing_until_it_is_resumed_and_a_stop_does_not_wait_for_it(
    hub, tmp_path, options, monkeypatch
):
    monkeypatch.setenv("EVBUS_OUTBOX", str(tmp_path / "o.sqlite"))
    pauses.change(pauses.path(hub), pause=["internal:def*"])
    async with running({"internal": {"default": {"routing_key": "box", **options}}}, hub):
        for number in range(5):
            await hub.evbus.broker.put("x", number)
        box = await hub.ingress.internal.get("box")
        await asyncio.sleep(0.1)
        destination = hub.evbus.init.status()["destinations"]["internal:default"]
        assert (box.qsize(), destination["state"], destination["waiting"]) == (0, "paused", 5)
        pauses.change(pauses.path(hub), resume=["internal:def*"])
        await eventually(lambda: box.qsize() == 5)
        assert hub.evbus.init.status()["destinations"]["internal:default"]["state"] == "open"
        pauses.change(pauses.path(hub), pause=["internal:default"])
        await eventually(lambda: hub.evbus.init.status()["destinations"]["internal:default"]["state"] == "paused")
        await hub.evbus.broker.put("x", 5)
        async with asyncio.timeout(HANG / 2):
            account = await hub.evbus.init.stop(HANG)
    assert account.remaining + account.spilled == 1


def test_two_commands_at_once_lose_no_pause_and_nobody_else_reads_them(tmp_path):
    where = tmp_path / "shop" / "paused.json"
    pauses.change(where, pause=["one"])
    pauses.change(where, pause=["two"], reason="why")
    assert set(pauses.read(where)) == {"one", "two"}
    assert stat.S_IMODE(os.stat(where).st_mode) == 0o600
    pauses.change(where, resume=["one"])
    assert set(pauses.read(where)) == {"two"}


def test_a_disk_that_is_full_changes_nothing_and_is_named(tmp_path, monkeypatch):
    where = tmp_path / "paused.json"
    pauses.change(where, pause=["one"])

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="cannot be changed: No space left on device"):
        pauses.change(where, pause=["two"])
    assert set(pauses.read(where)) == {"one"}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["paused.json", "paused.lock"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"x": 1}', '{"x": {"since": "a", "reason": ""}}', "1" * 10_000])
async def test_a_file_that_cannot_be_read_keeps_what_is_paused_and_says_what_to_do(text, app, caplog):
    hub = app(handler__shipping=SHIP)
    where = pauses.path(hub)
    pauses.change(where, pause=["shipping.ship"])
    async with running({"internal": {"default": None}}, hub):
        await hub.evbus.handlers.start()
        await asyncio.sleep(0.1)
        where.write_text(text)
        await eventually(lambda: "remove the file, and pause again" in caplog.text)
        assert state_of(hub, "shipping.ship")["state"] == "paused"
        where.unlink()
        await eventually(lambda: state_of(hub, "shipping.ship")["state"] == "open")
    where.write_text(text)
    with pytest.raises(StorageError, match="remove the file, and pause again"):
        async with running({"internal": {"default": None}}, app(handler__shipping=SHIP)):
            pass


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "paused.json").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_text(json.dumps({"x": {"since": 1, "reason": ""}}))
    with pytest.raises(StorageError, match="cannot be read"):
        pauses.read(tmp_path / "paused.json")
