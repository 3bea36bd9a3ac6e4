"""When the relay looks again, with a model of PostgreSQL."""

from types import SimpleNamespace

import pytest

from evbus_like.postgres import relay
from evbus_like.postgres.database import Database
from evbus_like.testing import eventually
from tests.models.test_postgres_relay import Lane, Server, Table
from tests.unit.fakes import HANG


@pytest.fixture
async def running(monkeypatch):
    """A relay that does not look again by itself, its table, and what its lane has received."""
    monkeypatch.setattr(relay, "POLL", (600.0, 600.0))
    monkeypatch.setattr(relay, "LATE_EVERY", 600.0)
    server, received = Server(), []
    table, lane = Table(server), Lane(received)
    serializer = SimpleNamespace(content_type="t")
    route = SimpleNamespace(lanes=(lane,), groups=((serializer, (lane,)),), gives_options=False)
    admission = SimpleNamespace(router=SimpleNamespace(route=lambda _: route), taken=0)
    bus = SimpleNamespace(admission=admission, deliver_due=lambda: None, lanes=(lane,))
    made = relay.Relay(bus, Database("shop", "", lease=1e9), table, None)
    yield made, table, received
    lane.settle(len(lane.queue))
    await made.close()


async def test_an_event_that_is_stored_just_after_a_read_is_delivered_without_a_poll(running):
    made, table, received = running
    read = table.read

    async def stored_meanwhile(lasts):
        rows = await read(lasts)
        if not table.server.rows and not received:
            table.server.insert(0, 1)
            table.server.end(0, True)
            made.soon(True)
        return rows

    table.read = stored_meanwhile
    made.start()
    await eventually(lambda: len(received) == 1, HANG)


async def test_an_event_that_is_stored_in_a_pause_ends_it(running):
    made, table, received = running
    made.start()
    await eventually(lambda: made.state == "open" and made.progress.lasts, HANG)
    table.server.insert(0, 1)
    table.server.end(0, True)
    made.soon(True)
    await eventually(lambda: len(received) == 1, HANG)
