"""engine/outbox/store.py and its segments: whatever is appended and settled, the file is as a list of each would be."""

import pytest

from evbus_like.engine.outbox import layout
from evbus_like.engine.outbox.connection import connect
from evbus_like.engine.outbox.record import pack
from evbus_like.engine.outbox.store import Store
from evbus_like.engine.outbox.usage import OutboxUsage, measure
from tests.unit.outboxes import make


@pytest.fixture
def store(tmp_path):
    store = Store(lambda: connect(tmp_path / "outbox.db"), "outbox.db", OutboxUsage(2**40, "outbox.db"))
    yield store
    store.close()


def statements(store, parcels, *settled):
    """What one commit sends to SQLite."""
    seen = []
    store.connection.set_trace_callback(seen.append)
    store.begin()
    for name, seqs in settled:
        store.settle(name, seqs)
    store.append(parcels)
    store.commit()
    store.connection.set_trace_callback(None)
    return [each.split(" ")[0] for each in seen]


def test_a_commit_of_events_is_one_statement_and_settling_one_more_in_a_transaction(store):
    parcels = [(pack(make(n)), ("a",)) for n in range(100)]
    assert statements(store, parcels) == ["BEGIN", "INSERT", "INSERT", "COMMIT"]  # the route is new

    assert statements(store, parcels) == ["INSERT"]
    assert statements(store, parcels, ("a", range(1, 201))) == ["BEGIN", "DELETE", "INSERT", "COMMIT"]
    assert statements(store, [], ("a", range(201, 301))) == ["DELETE"]
    assert measure(store.connection).pending == {}


def test_a_segment_fits_a_page_of_the_file(store):
    for names in (("a",), ("a" * 200, "b" * 200)):
        for length in (1, 10, 100, 300, 900):
            store.begin()
            store.append([(pack(make(b"x" * length)), names) for _ in range(300)])
            store.commit()
    payload = "17 + length(destinations) + length(records)"

    assert store.connection.execute(f"SELECT max({payload}) FROM segments").fetchone()[0] <= 4061  # SQLite: U - 35
    assert store.connection.execute(f"SELECT max({payload}) FROM segments").fetchone()[0] > 4000
    assert store.connection.execute("SELECT max(count) FROM segments").fetchone()[0] <= layout.MOST


def test_what_one_destination_has_of_a_segment_is_kept_while_another_waits(store):
    store.begin()
    store.append([(pack(make(n)), ("a", "b")) for n in range(layout.MOST)])
    store.commit()
    seqs = list(range(1, layout.MOST + 1))
    for settled, left in ((seqs[:1], layout.MOST - 1), (seqs[-1:], layout.MOST - 2), (seqs, 0)):
        statements(store, [], ("a", settled))
        assert measure(store.connection).pending.get("a", 0) == left
    assert measure(store.connection).pending == {"b": layout.MOST}

    statements(store, [], ("b", seqs))
    rows = "SELECT (SELECT count(*) FROM segments), (SELECT count(*) FROM done)"
    assert store.connection.execute(rows).fetchone() == (0, 0)


def test_routes_that_nothing_has_any_more_are_forgotten_with_the_next_start(store, tmp_path):
    for n in range(20):
        statements(store, [(pack(make(n)), (f"destination {n}",))])
    statements(store, [], *((f"destination {n}", [n + 1]) for n in range(1, 20)))
    again = Store(lambda: connect(tmp_path / "outbox.db"), "outbox.db", OutboxUsage(2**40, "outbox.db"))

    assert [route.names for route in again.routes.all()] == [("destination 0",)]
    again.close()
