"""At debug there is a line in the log for each event put, sent, received and handled; above, none."""

import logging

import pytest

from evbus_like.engine import event_log
from evbus_like.handlers import REJECT
from evbus_like.testing import eventually, running
from tests.integration.sources import handler, on_hub

PROFILES = {"internal": {"default": None}}


async def take(event):
    if event.body == 2:
        raise ValueError("not this one")


async def run_three():
    """Put three events, of which a handler fails with one; gives their ids."""
    async with running(PROFILES) as hub:
        taking = handler(take, "orders", "placed", on_error=REJECT)
        async with on_hub(hub, PROFILES, taking) as group:
            ids = [(await hub.evbus.broker.dispatch("orders", "placed", number)).id for number in (1, 2)]
            ids.append(hub.evbus.broker.dispatch_nowait("orders", "placed", 3))
            await eventually(lambda: group.consumers[0].stats.handled == 2 and group.consumers[0].stats.dead == 1)
    return ids


async def test_at_debug_each_event_has_a_line_when_it_is_put_sent_received_and_handled(caplog):
    with caplog.at_level(logging.DEBUG, "evbus_like.flow"):
        ids = await run_three()
    lines = [record for record in caplog.records if record.name == "evbus_like.flow"]
    for number, id in enumerate(ids, 1):
        about = [record.getMessage() for record in lines if record.event_id == id]
        assert about[0] == f"put placed {id} for internal:default"
        assert about[1] == f"sent placed {id} to internal:default"
        assert about[2] == f"received orders.placed {id} from internal:default for shipping.take"
        what = "failed, the event becomes a dead letter" if number == 2 else "handled"
        assert about[3].startswith(f"orders.placed {id}: {what} by shipping.take in 0.0")
        assert len(about) == 4
    assert {record.destination for record in lines if "sent" in record.getMessage()} == {"internal:default"}
    assert {record.handler for record in lines if "received" in record.getMessage()} == {"shipping.take"}
    assert {record.profile for record in lines if record.getMessage().startswith("put")} == {"default"}


async def test_above_debug_nothing_is_said_of_single_events(caplog, monkeypatch):
    for name in ("put", "sent", "received", "handled"):
        monkeypatch.setattr(event_log, name, lambda *_: pytest.fail("it was called"))
    with caplog.at_level(logging.INFO):
        await run_three()
    assert not [record for record in caplog.records if record.name == "evbus_like.flow"]
