"""dedup_durable: ids of handled events in the outbox file."""

import asyncio
import sqlite3
import textwrap

import pytest

from evbus_like.engine.errors import HandlerError, StorageError
from evbus_like.engine.outbox import Outbox
from evbus_like.engine.receiving.dedup import DurableDedupWindow
from evbus_like.hub import outbox_place
from evbus_like.testing import eventually, new_hub, running
from tests.unit.fakes import HANG
from tests.unit.sources import Log, Source, made

APP = """
    import evbus_like.handlers as evbus

    @evbus.handler("orders", "placed", dedup=3, dedup_durable=True)
    async def ship(hub, event):
        hub.SEEN.append(event.id)
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("EVBUS_OUTBOX", "")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(outbox_place, "application", lambda hub: "shop")
    return tmp_path / "state" / "evbus_like" / "shop" / "outbox.sqlite"


@pytest.fixture
def app(package, monkeypatch):
    monkeypatch.syspath_prepend(package({"handler/shipping.py": textwrap.dedent(APP)}))

    def hub():
        made = new_hub()
        made.SEEN = []
        return made

    return hub


async def put(hub, *ids):
    """Put events of these ids to the exchange of the service."""
    from evbus_like.engine.event import Event

    for each in ids:
        event = Event("placed", b"1", "default", {"evbus-service": "orders"})
        event.id, event.content_type = each, "application/json"
        assert hub.ingress.internal.EXCHANGES["orders.events"].put(event) is None


async def repeats(hub, count):
    await eventually(lambda: next(iter(hub.evbus.handlers.status().values()))["repeats"] >= count, HANG)


async def begin(hub):
    await hub.evbus.handlers.start()
    await hub.evbus.handlers.join(HANG)


@pytest.mark.parametrize("profile", [None, {"outbox": "always"}], ids=["outbox for the ids alone", "shared outbox"])
async def test_a_restart_does_not_forget_what_was_handled(app, path, profile):
    profiles = {"internal": {"default": profile}}
    hub = app()
    async with running(profiles, hub):
        await begin(hub)
        await put(hub, "a", "b", "a")
        await repeats(hub, 1)
    assert path.exists()
    again = app()
    async with running(profiles, again):
        await begin(again)
        await put(again, "a", "b", "c")
        await repeats(again, 2)
        await eventually(lambda: again.SEEN, HANG)
    assert (hub.SEEN, again.SEEN) == (["a", "b"], ["c"])


async def test_handlers_may_be_stopped_and_started_while_the_bus_goes_on(app, path):
    hub = app()
    async with running(None, hub):
        await begin(hub)
        await put(hub, "a")
        await eventually(lambda: hub.SEEN, HANG)
        await hub.evbus.handlers.stop()
        await begin(hub)
        await put(hub, "a")
        await repeats(hub, 1)
    assert hub.SEEN == ["a"]


async def test_a_broadcast_whose_queue_is_another_after_each_start_cannot_keep_ids(package, monkeypatch, path):
    options = "delivery=evbus.BROADCAST, reliable=False, dedup=3, dedup_durable=True"
    source = textwrap.dedent(APP).replace("dedup=3, dedup_durable=True", options)
    monkeypatch.syspath_prepend(package({"handler/shipping.py": source}))
    hub = new_hub()
    async with running(None, hub):
        with pytest.raises(HandlerError, match="dedup_durable keeps ids under the queue's name"):
            await hub.evbus.handlers.start()


# ---- the window


@pytest.fixture
async def box(path):
    made = Outbox(path)
    made.open()
    yield made
    await made.close()


async def known(box, listener="queue", size=100):
    window = DurableDedupWindow(box, listener, size)
    await window.load()
    return list(window._ids)


async def test_the_newest_ids_of_a_listener_are_kept_and_no_others(box):
    window = DurableDedupWindow(box, "queue", 3)
    for each in ("a", "b", "c", "a", "d", "e"):
        await window.add(each)
    await DurableDedupWindow(box, "other", 3).add("z")
    assert await known(box) == ["a", "d", "e"]
    assert await known(box, "other") == ["z"]


async def test_a_smaller_window_forgets_the_oldest_on_the_disk_as_well(box):
    window = DurableDedupWindow(box, "queue", 5)
    for each in "abcde":
        await window.add(each)
    assert await known(box, size=2) == ["d", "e"]
    assert await known(box, size=5) == ["d", "e"]


async def test_an_id_is_on_the_disk_before_its_event_is_acknowledged_though_the_disk_fails_first(box, path):
    window = DurableDedupWindow(box, "queue", 3)
    note, failures = box.add_handled_id, [StorageError("full"), StorageError("full")]

    async def failing(*args):
        if failures:
            raise failures.pop()
        await note(*args)

    box.add_handled_id = failing
    source = Source()

    async def ack(feed, events):
        with sqlite3.connect(path) as reader:
            on_disk = {row[0] for row in reader.execute("SELECT id FROM handled")}
        reader.close()
        assert {event.id for event in events} <= on_disk
        await Source.ack(source, feed, events)

    source.ack = ack
    consumer = made(source, Log(), dedup=3)
    consumer.pool._dedup = window
    task = asyncio.create_task(consumer.run())
    source.put(1, 2)
    await eventually(lambda: len(source.settled) == 2, HANG)
    assert failures == []
    consumer.stop()
    await task


async def test_ids_are_recovered_from_a_damaged_file(path):
    box = Outbox(path)
    box.open()
    window = DurableDedupWindow(box, "queue", 100)
    for number in range(20):
        await window.add(f"id-{number}")
    await box.close()
    data = bytearray(path.read_bytes())
    data[60:64] = b"\xff\x3f\x7f\x12"  # where the header has the version
    path.write_bytes(data)
    box = Outbox(path)
    assert box.open() is not None
    await box.close()
    box.open()
    assert await known(box) == [f"id-{number}" for number in range(20)]
    await box.close()
