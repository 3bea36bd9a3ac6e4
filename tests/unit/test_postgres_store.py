"""postgres/store.py: what a put within a transaction asks of the database, and what it says where nothing is stored."""

import asyncio
from time import time

import pytest

from evbus_like.engine.errors import BadEvent, EventTooLarge, PutTimeout, StorageError
from evbus_like.engine.event import Event
from evbus_like.postgres import connections, ddl
from evbus_like.postgres.connections import Adapter
from evbus_like.postgres.database import Database
from evbus_like.postgres.store import Store
from tests.unit.fakes import JSON

HERE = ("shop", "made-once")  # the name of a database, and the id in its tables
SEEN = ("shop", False, True, True, True, True)  # what a connection sees: all is there, and it may write


class Connection:
    """A connection of an application. It answers what the tests say, and notes the statements."""

    def __init__(
        self,
        seen=SEEN,
        version=(ddl.LATEST, 8, "made-once"),
        error=None,
        trouble="",
        commits=False,
        may_schedule=True,
        may_cancel=True,
    ):
        self.seen = *seen, may_schedule, may_cancel
        self.version, self.error, self.trouble, self.commits = version, error, trouble, commits
        self.ran = []
        self.waiting = None  # what is called after the commit

    def answer(self, sql, values):
        self.ran.append((sql.split()[0], *values))
        if "current_database()" in sql:
            return [self.seen]
        if sql.startswith("SELECT version"):
            return [self.version] if self.version else []
        if self.error is not None:
            raise self.error
        return []


class Waiting(Connection):
    """The same, asynchronous."""


class Blocking(Adapter):
    def problem(self, conn):
        return conn.trouble

    def run(self, conn, sql, values):
        return conn.answer(sql, values)

    def after_commit(self, conn, wake):
        conn.waiting = wake
        return conn.commits


class Asynchronous(Blocking):
    waits = True

    async def run(self, conn, sql, values):
        await asyncio.sleep(0)
        return conn.answer(sql, values)


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(connections._known, Connection, Blocking())
    monkeypatch.setitem(connections._known, Waiting, Asynchronous())


def database(name="shop", identity=HERE, **options):
    return Database(name, "postgresql:///shop", identity=identity, **options)


class Stored(Store):
    """A store that notes its calls of the relay, and reads the identities of databases from `identities`."""

    def __init__(self, *databases, identities=()):
        self.told = []
        self.identities = dict(identities)
        super().__init__(databases, self.identified, lambda *said: self.told.append(said), (), JSON)

    async def identified(self, database):
        database.identity = self.identities[database.name]


def event(body=b"1", **options):
    made = Event("placed", body, "default", options.get("headers"), options.get("key"))
    made.content_type = "application/json"
    return made


async def store(box, conn, each=None, timeout=5.0):
    await box.store(each or event(), conn, timeout)


async def store_now(box, conn, each=None):
    await asyncio.to_thread(box.store_now, each or event(), conn)


WAYS = pytest.mark.parametrize(
    ("way", "kind"),
    [(store, Connection), (store, Waiting), (store_now, Connection)],
    ids=["put", "put, asynchronous", "put_nowait"],
)


@WAYS
async def test_the_first_put_of_a_connection_looks_and_each_one_is_an_insert(way, kind):
    box, conn = Stored(database()), kind()
    first, second = event(), event()
    await way(box, conn, first)
    await way(box, conn, second)
    assert [ran[0] for ran in conn.ran] == ["SELECT", "SELECT", "INSERT", "INSERT"]
    assert [ran[2] for ran in conn.ran[2:]] == [first.id, second.id]
    assert box.told == [(box._databases[0], False, False)] * 2, (
        "the relay looks soon: it is not known when there is a commit"
    )


@WAYS
async def test_where_the_library_can_say_it_the_relay_hears_of_the_commit(way, kind):
    box, conn = Stored(database()), kind(commits=True)
    await way(box, conn)
    assert box.told == []
    conn.waiting()
    assert box.told == [(box._databases[0], True, False)]


@WAYS
async def test_which_of_the_profiles_a_connection_belongs_to_is_found_also_if_the_database_was_away_at_the_start(
    way, kind
):
    box = Stored(
        database("stock", ("stock", "made-once")), database(identity=None, schema="events"), identities={"shop": HERE}
    )
    conn = kind()
    await way(box, conn)
    assert conn.ran[-1][0] == "INSERT"
    assert [each.name for each, *_ in box.told] == ["shop"]


NOWHERE = {
    "no schema": ({"seen": ("shop", False, False, None, None, None)}, "database 'shop' has no schema 'public'; `evbus"),
    "no usage": ({"seen": ("shop", False, True, False, None, None)}, "GRANT USAGE ON SCHEMA"),
    "no tables": ({"seen": ("shop", False, True, True, None, None)}, "the tables are not in the schema 'public'"),
    "no rights": ({"seen": ("shop", False, True, True, False, True)}, 'GRANT INSERT ON "public".evbus_outbox'),
    "read-only": ({"seen": ("shop", True, True, True, True, True)}, "the transaction is read-only"),
    "older": ({"version": (1, 8, "made-once")}, "`evbus db schema --after 1`"),
    "newer": ({"version": (99, 8, "made-once")}, "install a newer one"),
    "empty": ({"version": None}, "its tables have version 0"),
    "another": ({"seen": ("stock", *SEEN[1:])}, "it is 'shop', and the connection leads to 'stock'"),
    "restored": ({"version": (ddl.LATEST, 8, "other")}, "leads to 'shop' of another server"),
}


@WAYS
@pytest.mark.parametrize(("facts", "why"), NOWHERE.values(), ids=NOWHERE)
async def test_a_connection_that_does_not_lead_to_the_tables_is_refused_with_what_to_do(way, kind, facts, why):
    box, conn = Stored(database()), kind(**facts)
    with pytest.raises(StorageError) as found:
        await way(box, conn)
    assert str(found.value).startswith("the event is not stored: postgres:shop")
    assert why in str(found.value)
    assert (box.told, "INSERT" in [ran[0] for ran in conn.ran]) == ([], False)


@pytest.mark.parametrize("kind", [Connection, Waiting])
async def test_an_event_to_be_sent_later_is_an_insert_by_the_clock_of_the_database_and_a_cancel_a_delete(kind):
    box, conn = Stored(database()), kind()
    later = event()
    await box.store(later, conn, 5.0, time() + 60)
    await box.cancel(later.id, conn, 5.0)
    assert [ran[0] for ran in conn.ran] == ["SELECT", "SELECT", "INSERT", "DELETE"]
    assert conn.ran[2][2] == later.id
    assert 59 < conn.ran[2][-1] <= 60
    assert conn.ran[3][1:] == (later.id,)
    assert box.told == [(box._databases[0], False, True)]


async def test_a_user_without_rights_on_events_to_be_sent_later_hears_of_it_before_the_transaction_is_spoiled():
    box, conn = Stored(database()), Connection(may_schedule=False, may_cancel=False)
    await box.store(event(), conn, 5.0)
    with pytest.raises(StorageError, match=r'GRANT INSERT ON "public"\.evbus_scheduled'):
        await box.store(event(), conn, 5.0, time() + 60)
    with pytest.raises(StorageError, match=r'GRANT SELECT, DELETE ON "public"\.evbus_scheduled'):
        await box.cancel("id", conn, 5.0)
    assert [ran[0] for ran in conn.ran] == ["SELECT", "SELECT", "INSERT"]


async def test_two_profiles_of_one_database_are_named():
    with pytest.raises(StorageError, match="postgres:shop and postgres:also are the same database"):
        await store(Stored(database(), database("also")), Connection())


@WAYS
async def test_a_connection_without_a_transaction_is_refused_before_any_statement(way, kind):
    conn = kind(trouble="is outside of a transaction")
    with pytest.raises(BadEvent, match=rf"within \(tests\.unit.*{kind.__name__}\) is outside of a transaction"):
        await way(Stored(database()), conn)
    assert conn.ran == []


@WAYS
async def test_a_body_that_is_larger_than_the_profile_stores_is_refused(way, kind):
    box, conn = Stored(database(max_event_bytes=3)), kind()
    await way(box, conn, event(b"123"))
    with pytest.raises(EventTooLarge, match="the body is 4 bytes, and postgres:shop stores at most 3"):
        await way(box, conn, event(b"1234"))
    assert len([ran for ran in conn.ran if ran[0] == "INSERT"]) == 1


class DriverError(Exception):
    def __init__(self, state):
        super().__init__("what the driver says")
        self.sqlstate = state


class Wrapped(Exception):
    """An error of SQLAlchemy, around that of the driver."""

    def __init__(self, state):
        super().__init__("what SQLAlchemy says")
        self.orig = DriverError(state)


STATES = {
    "25P02": (BadEvent, "can only be rolled back"),
    "25006": (StorageError, "read-only"),
    "42P01": (StorageError, "the table is not there any more; `evbus db schema` prints"),
    "53100": (StorageError, "the disk of the database is full"),
}


@WAYS
@pytest.mark.parametrize("kind_of_error", [DriverError, Wrapped])
@pytest.mark.parametrize("state", STATES)
async def test_an_error_of_the_database_with_a_known_cause_says_it(way, kind, kind_of_error, state):
    expected, why = STATES[state]
    box = Stored(database())
    with pytest.raises(expected, match=why) as found:
        await way(box, kind(error=kind_of_error(state)))
    assert isinstance(found.value.__cause__, kind_of_error)
    assert box.told == []


@WAYS
async def test_any_other_error_of_the_driver_is_left_as_it_is(way, kind):
    error = DriverError("23505")
    with pytest.raises(DriverError) as found:
        await way(Stored(database()), kind(error=error))
    assert found.value is error


async def test_a_database_that_does_not_answer_in_time_leaves_it_unknown_and_says_so():
    class Hanging(Asynchronous):
        async def run(self, conn, sql, values):
            await asyncio.Event().wait()

    connections._known[Waiting] = Hanging()  # the fixture takes it back
    with pytest.raises(PutTimeout, match=r"did not answer for 0\.01 s, so whether the event is stored .*: roll back"):
        await store(Stored(database()), Waiting(), timeout=0.01)


async def test_put_nowait_cannot_wait_for_an_asynchronous_connection():
    conn = Waiting()
    with pytest.raises(BadEvent, match=r"Waiting\) is asynchronous: `await put\(..., within=...\)`, not put_nowait"):
        Stored(database()).store_now(event(), conn)
    assert conn.ran == []
