"""Dead letters in the outbox of a running bus: it replays and purges them when another process asks for it."""

import asyncio
import json
import os
import stat
import time

import pytest

from evbus_like.cli import status
from evbus_like.engine.errors import OutboxLocked
from evbus_like.engine.outbox import Outbox, inspect, pending, requests
from evbus_like.engine.outbox.requests import CANCEL, DISCARD, PURGE, REPLAY, SET_ASIDE, Request
from evbus_like.hub import monitoring
from evbus_like.monitor import exposition
from evbus_like.testing import eventually, new_hub, running
from tests.unit.fakes import HANG
from tests.unit.outboxes import append_one, make

HERE, KEY = "internal:default", "orders.created"


@pytest.fixture(autouse=True)
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("EVBUS_OUTBOX", str(tmp_path / "outbox.sqlite"))
    return tmp_path / "outbox.sqlite"


async def fill(path, count, destination=HERE):
    box = Outbox(path)
    box.open()
    for n in range(count):
        await box.dead_letter_event(destination, make(n, id=f"id-{n}"), "no", "PoisonEvent", 1)
    await box.close()


async def asked(path, *numbers, action=REPLAY, to=""):
    await eventually(lambda: requests.folder(path).exists(), timeout=HANG)
    return await requests.ask(path, Request(action, numbers, to))


@pytest.mark.parametrize("options", [{}, {"outbox": "always"}, {"max_events": 2, "when_full": "spill"}])
async def test_a_running_bus_sends_replayed_letters_at_once_and_the_account_adds_up(path, options):
    await fill(path, 5)
    hub = new_hub()
    async with running({"internal": {"default": options}}, hub):
        answer = await asked(path, 1, 2, 3, 5, 99)
        queue = await hub.ingress.internal.get(KEY)
        got = [int(await asyncio.wait_for(queue.get(), HANG)) for _ in range(4)]
        await hub.evbus.broker.put(routing_key=KEY, body=7)
        assert json.loads(await asyncio.wait_for(queue.get(), HANG)) == 7
        (lane,) = hub.evbus.init.account().lanes
    assert (answer, got) == ({"done": 4, "more": False}, [0, 1, 2, 4])
    assert (lane.accepted, lane.delivered, lane.remaining) == (5, 5, 0)
    summary = inspect.summarize(path)
    assert (summary.waiting, summary.dead) == ({}, 1)
    assert not requests.folder(path).exists()


async def test_a_letter_goes_to_another_destination_or_waits_for_one_that_comes(path):
    await fill(path, 2, "internal:old")
    hub = new_hub()
    async with running({"internal": {"default": None}}, hub):
        assert await asked(path, 1, to=HERE) == {"done": 1, "more": False}
        assert await asked(path, 2) == {"done": 1, "more": False}
        queue = await hub.ingress.internal.get(KEY)
        assert int(await asyncio.wait_for(queue.get(), HANG)) == 0
    assert inspect.summarize(path).waiting == {"internal:old": 1}


async def test_a_running_bus_purges_letters(path):
    await fill(path, 3)
    async with running({"internal": {"default": None}}):
        assert await asked(path, 1, 3, action=PURGE) == {"done": 2, "more": False}
    assert [letter.number for letter in inspect.dead_letters(path)] == [2]


async def test_requests_that_are_old_or_wrong_are_not_carried_out(path):
    await fill(path, 3)
    good = {"action": PURGE, "numbers": [1], "to": "", "at": time.time()}
    async with running({"internal": {"default": None}}):
        await eventually(lambda: requests.folder(path).exists(), timeout=HANG)
        for number, text in enumerate(
            json.dumps(each)
            for each in (
                {**good, "at": time.time() - 3600},
                {**good, "at": time.time() + 3600},
                {**good, "numbers": ["1"]},
                {**good, "action": "all"},
                {"numbers": [1]},
                [],
                "[" * 100_000,
            )
        ):
            made = requests.folder(path) / f"{number}.request"
            made.write_text(text)
        link = requests.folder(path) / "link.request"
        link.symlink_to(path)
        await eventually(lambda: not list(requests.folder(path).iterdir()), timeout=HANG)
        assert await asked(path, 2, action=PURGE) == {"done": 1, "more": False}
    assert [letter.number for letter in inspect.dead_letters(path)] == [1, 3]


async def test_the_folder_of_requests_is_private_and_a_stale_one_is_taken_over(path):
    requests.folder(path).mkdir(parents=True, mode=0o700)
    stale = requests.folder(path) / "old.request"
    stale.write_text(json.dumps({"action": PURGE, "numbers": [1], "to": "", "at": time.time()}))
    await fill(path, 1)
    async with running({"internal": {"default": None}}):
        await eventually(lambda: not stale.exists(), timeout=HANG)
        assert stat.S_IMODE(os.stat(requests.folder(path)).st_mode) == 0o700
    assert len(inspect.dead_letters(path)) == 1


async def test_a_process_that_does_not_answer_is_named(path, monkeypatch):
    monkeypatch.setattr(requests, "GOOD_FOR", 0.3)
    await fill(path, 1)
    box = Outbox(path)
    box.open()
    requests.begin(path)
    with pytest.raises(OutboxLocked, match=f"process {os.getpid()} has the outbox .* open, and does not answer"):
        await requests.ask(path, Request(REPLAY, [1]))
    assert list(requests.folder(path).iterdir()) == []
    requests.end(path)
    await box.close()


async def test_what_waits_for_a_destination_that_is_gone_is_set_aside_or_deleted_beside_a_running_bus(path):
    box = Outbox(path)
    box.open()
    for name in ("internal:old", "internal:older"):
        for number in range(450):
            await append_one(box, make(number), [name])
    await box.close()
    async with running({"internal": {"default": {"outbox": "always"}}}) as hub:
        refused = await asked(path, action=SET_ASIDE, to=HERE)
        aside = await asked(path, action=SET_ASIDE, to="internal:old")
        deleted = await asked(path, action=DISCARD, to="internal:older")
        assert dict(hub.evbus.RUNTIME.bus.outbox.counts().pending) == {}
    assert "it sends events to internal:default" in refused["error"]
    assert (aside, deleted) == ({"done": 450, "more": False}, {"done": 450, "more": False})
    summary = inspect.summarize(path)
    assert (summary.waiting, summary.dead) == ({}, 450)


async def test_a_request_for_very_many_events_is_answered_soon_and_says_that_there_are_more(path, monkeypatch):
    monkeypatch.setattr(pending, "SLICE", 0.0)
    box = Outbox(path)
    box.open()
    for number in range(450):
        await append_one(box, make(number), ["internal:old"])
    await box.close()
    answers = []
    async with running({"internal": {"default": {"outbox": "always"}}}):
        while not answers or answers[-1]["more"]:
            answers.append(await asked(path, action=SET_ASIDE, to="internal:old"))
    assert [each["done"] for each in answers] == [200, 200, 50, 0]
    assert inspect.summarize(path).dead == 450


async def test_a_running_bus_cancels_an_event_that_is_sent_later(path):
    hub = new_hub()
    async with running({"internal": {"default": None}}, hub):
        receipt = await hub.evbus.broker.put(routing_key=KEY, body=7, delay=3600)
        assert [each.id for each in inspect.scheduled(path)] == [receipt.id]
        assert await asked(path, action=CANCEL, to=receipt.schedule_id) == {"done": 1, "more": False}
        assert await asked(path, action=CANCEL, to=receipt.schedule_id) == {"done": 0, "more": False}
    assert inspect.summarize(path).scheduled == 0


async def test_status_and_metrics_count_what_is_not_due_yet(path, capsys):
    hub = new_hub()
    async with running({"internal": {"default": None}}, hub):
        for delay in (3600, 7200):
            await hub.evbus.broker.put(routing_key=KEY, body=7, delay=delay)
        found = await monitoring.of(hub).status()
    status.table(found)
    assert ": 0 events, 2 not due yet, 0 dead letters" in capsys.readouterr().out
    assert b"evbus_outbox_scheduled_events 2" in exposition.exposed(found, "")[0]
