"""Outboxes of workers: each has its own, and what those leave that do not exist any more is sent by another process."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from evbus_like.engine.outbox import Outbox, inspect
from evbus_like.hub import leftovers, outbox, outbox_place
from evbus_like.testing import eventually, new_hub, running
from tests.unit.fakes import HANG
from tests.unit.outboxes import append_one, make

PROFILES = {"internal": {"default": {"outbox": "always"}}}


@pytest.fixture(autouse=True)
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("EVBUS_OUTBOX", str(tmp_path / "outbox.sqlite"))
    monkeypatch.setattr(leftovers, "LOOK_EVERY", 0.02)
    return tmp_path / "outbox.sqlite"


@pytest.fixture
def as_worker(monkeypatch):
    """This process is a worker."""
    for module in (outbox, leftovers):
        monkeypatch.setattr(module, "THIS", SimpleNamespace(number=1))


async def leave(path, *bodies, destination="internal:default"):
    """Leave events in an outbox."""
    box = Outbox(path)
    box.open()
    for body in bodies:
        await append_one(box, make(body), [destination])
    await box.close()


async def waiting(path):
    box = Outbox(path)
    box.open()
    try:
        return dict(box.counts().pending)
    finally:
        await box.close()


async def received(hub, count):
    queue = await hub.ingress.internal.get("orders.created")
    return sorted([int(await asyncio.wait_for(queue.get(), HANG)) for _ in range(count)])


async def test_each_worker_opens_the_first_outbox_that_is_free(path, as_worker):
    entries = []
    boxes = [await outbox.opened(new_hub(), entries) for _ in range(3)]
    await boxes[0].close()
    boxes.append(await outbox.opened(new_hub(), entries))
    for box in boxes[1:]:
        await box.close()

    names = ["outbox.sqlite", "outbox.worker-2.sqlite", "outbox.worker-3.sqlite", "outbox.sqlite"]
    assert [box.path.name for box in boxes] == names


def test_only_the_outboxes_of_workers_are_found_in_the_order_of_their_numbers(path):
    for name in (
        "outbox.worker-10",
        "outbox.worker-2",
        "outbox.worker-x",
        "outbox",
        "other.worker-3",
        "outbox.worker-",
    ):
        path.with_name(f"{name}.sqlite").touch()

    found = [each.name for each in outbox_place.of_workers(path)]

    assert found == ["outbox.sqlite", "outbox.worker-2.sqlite", "outbox.worker-10.sqlite"]


@pytest.mark.parametrize("supervised", [True, False])
async def test_what_workers_left_that_do_not_exist_any_more_is_sent(path, supervised, request):
    if supervised:
        request.getfixturevalue("as_worker")
    others = [outbox_place.of_worker(path, number) for number in (3, 7)]
    for number, other in enumerate(others):
        await leave(other, 10 * number + 1, 10 * number + 2)
    hub = new_hub()
    async with running(PROFILES, hub):
        assert await received(hub, 4) == [1, 2, 11, 12]
        await eventually(lambda: all(outbox.is_free(other) for other in others), timeout=HANG)

    assert [await waiting(other) for other in others] == [{}, {}]


async def test_what_they_left_for_later_is_sent_when_it_is_due(path, as_worker):
    other = outbox_place.of_worker(path, 3)
    box = Outbox(other)
    box.open()
    due = time.time() + 1
    for body, delay in ((1, -60), (2, 0), (3, 3600)):
        await box.schedule(due + delay, [(make(body), ("internal:default",))])
    await box.close()
    hub = new_hub()
    async with running(PROFILES, hub):
        assert await received(hub, 2) == [1, 2]
        assert time.time() >= due
        await eventually(lambda: outbox.is_free(other), timeout=HANG)
    assert inspect.summarize(other).scheduled == 1


async def test_an_outbox_that_a_worker_has_open_is_left_alone(path, as_worker):
    other = outbox_place.of_worker(path, 2)
    await leave(other, 1)
    box = Outbox(other)
    box.open()
    hub = new_hub()
    async with running(PROFILES, hub):
        await asyncio.sleep(0.1)
        assert box.counts().pending == {"internal:default": 1}
        await box.close()
        assert await received(hub, 1) == [1]


async def test_events_without_a_profile_are_kept_and_named_once(path, as_worker, caplog):
    other = outbox_place.of_worker(path, 2)
    await leave(other, 1, destination="internal:gone")
    async with running(PROFILES):
        await eventually(lambda: "no profile internal:gone exists" in caplog.text, timeout=HANG)
        await asyncio.sleep(0.1)

    assert caplog.text.count("no profile internal:gone exists") == 1
    assert await waiting(other) == {"internal:gone": 1}


async def test_without_outboxes_of_workers_nothing_looks_for_them(path):
    await leave(path, 1)
    async with running(PROFILES):
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "evbus_like leftovers"]
