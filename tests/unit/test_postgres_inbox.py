"""postgres/inbox.py: a transaction with the mark of an event; its connection is given back whatever happens."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from psycopg.pq import TransactionStatus

from evbus_like.engine.errors import HandlerError, StorageError
from evbus_like.engine.receiving.inbox import MarkHeld
from evbus_like.postgres import connections
from evbus_like.postgres import inbox as postgres_inbox
from evbus_like.postgres.connections import Asyncpg, Psycopg, PsycopgAsync
from evbus_like.postgres.database import Database
from evbus_like.postgres.inbox import Inbox


async def hang():
    await asyncio.Event().wait()


class Connection:
    """A connection that says in `did` what it was asked to do, and keeps the marks that were committed.

    `steps` maps one of these words to an error, or to a function that is awaited.
    """

    def __init__(self, **steps):
        self.steps, self.did, self.marks, self.pending = steps, [], set(), set()
        self.pgconn = SimpleNamespace(transaction_status=TransactionStatus.IDLE)

    async def step(self, word):
        self.did.append(word)
        step = self.steps.get(word)
        if isinstance(step, Exception):
            raise step
        if step is not None:
            await step()

    @asynccontextmanager
    async def transaction(self):
        await self.step("begin")
        self.pgconn.transaction_status = TransactionStatus.INTRANS
        try:
            yield
        except BaseException:
            self.pending.clear()
            await self.step("roll back")
            raise
        else:
            await self.step("commit")
            self.marks |= self.pending
        finally:
            self.pgconn.transaction_status = TransactionStatus.IDLE

    def is_in_transaction(self):
        return self.pgconn.transaction_status != TransactionStatus.IDLE

    async def mark(self, sql, values):
        """Answer the statements of an inbox."""
        if sql.startswith("INSERT"):
            await self.step("mark")
            if values in self.marks:
                return []
            self.pending.add(values)
            return [("now",)]
        await self.step("find")
        return [("now",)] if values in self.pending or sql == "SELECT 1" else []


class OfPsycopg(PsycopgAsync):
    """Knows from its own library in which state a transaction is."""

    def problem(self, conn):
        return ""

    async def run(self, conn, sql, values):
        return await conn.mark(sql, values)


class OfAsyncpg(Asyncpg):
    """Has to ask the server."""

    def problem(self, conn):
        return ""

    async def run(self, conn, sql, values):
        return await conn.mark(sql, values)


@pytest.fixture(params=[OfPsycopg, OfAsyncpg], ids=["psycopg", "asyncpg"], autouse=True)
def adapter(request, monkeypatch):
    monkeypatch.setitem(connections._known, Connection, request.param())
    monkeypatch.setattr(postgres_inbox, "ROLL_BACK", 0.05)


def opened(conn, timeout=5.0):
    """An inbox whose connections are this one; it says when it is given back."""

    @asynccontextmanager
    async def connect():
        try:
            yield conn
        finally:
            conn.did.append("given back")

    return Inbox(Database("shop", "postgresql:///shop", timeout=timeout), connect)


async def test_a_commit_commits_the_mark_and_gives_the_connection_back():
    conn = Connection()
    transaction = await opened(conn).begin("shipping.ship", "event-1")
    assert transaction.connection is conn
    await transaction.commit()
    assert [each for each in conn.did if each != "find"] == ["begin", "mark", "commit", "given back"]
    assert conn.marks == {("shipping.ship", "event-1")}


async def test_an_event_with_a_mark_is_known_and_keeps_no_connection():
    conn = Connection()
    inbox = opened(conn)
    await (await inbox.begin("shipping.ship", "event-1")).commit()
    conn.did.clear()
    assert await inbox.begin("shipping.ship", "event-1") is None
    assert conn.did == ["begin", "mark", "commit", "given back"]
    other = await inbox.begin("shipping.bill", "event-1")
    assert other is not None, "another handler has marks of its own"
    await other.commit()


async def test_a_rollback_leaves_no_mark_and_gives_the_connection_back():
    conn = Connection()
    transaction = await opened(conn).begin("shipping.ship", "event-1")
    await transaction.roll_back(ValueError("the handler's"))
    assert conn.did == ["begin", "mark", "roll back", "given back"]
    assert conn.marks == set()


async def test_an_event_without_an_id_gets_a_transaction_and_no_mark():
    conn = Connection()
    transaction = await opened(conn).begin("shipping.ship", "")
    await transaction.commit()
    assert "mark" not in conn.did
    assert (conn.did[-2:], conn.marks) == (["commit", "given back"], set())


async def test_a_mark_that_another_transaction_holds_for_longer_than_the_timeout_is_held_and_costs_no_connection():
    conn = Connection(mark=hang)
    with pytest.raises(MarkHeld):
        await opened(conn, timeout=0.02).begin("shipping.ship", "event-1")
    assert conn.did == ["begin", "mark", "roll back", "given back"]


@pytest.mark.parametrize("word", ["begin", "mark"])
async def test_an_error_of_the_database_is_raised_as_it_is_and_the_connection_given_back(word):
    error = ConnectionError("the server closed the connection")
    conn = Connection(**{word: error})
    with pytest.raises(ConnectionError) as found:
        await opened(conn).begin("shipping.ship", "event-1")
    assert found.value is error
    assert conn.did[-1] == "given back"


async def test_a_database_that_does_not_answer_in_time_is_a_time_out_and_the_connection_is_given_back():
    conn = Connection(begin=hang)
    with pytest.raises(TimeoutError):
        await opened(conn, timeout=0.02).begin("shipping.ship", "event-1")
    assert conn.did == ["begin", "given back"]


async def test_a_commit_that_is_not_confirmed_in_time_says_what_the_next_attempt_finds():
    conn = Connection(commit=hang)
    transaction = await opened(conn, timeout=0.02).begin("shipping.ship", "event-1")
    with pytest.raises(StorageError, match=r"postgres:shop did not confirm the commit within 0\.02 s; if it is"):
        await transaction.commit()
    assert conn.did[-1] == "given back"


@pytest.mark.parametrize("adapter", [OfAsyncpg], indirect=True)
async def test_a_server_that_does_not_say_whether_the_mark_is_there_has_committed_nothing():
    conn = Connection(find=hang)
    transaction = await opened(conn, timeout=0.02).begin("shipping.ship", "event-1")
    with pytest.raises(StorageError, match="did not confirm the commit"):
        await transaction.commit()
    assert conn.did == ["begin", "mark", "find", "roll back", "given back"]


async def test_a_commit_that_fails_is_raised_as_it_is_and_the_connection_given_back():
    conn = Connection(commit=ConnectionError("lost"))
    transaction = await opened(conn).begin("shipping.ship", "event-1")
    with pytest.raises(ConnectionError, match="lost"):
        await transaction.commit()
    assert (conn.did[-1], conn.marks) == ("given back", set())


async def test_a_rollback_that_hangs_is_left_to_the_pool():
    conn = Connection(**{"roll back": hang})
    transaction = await opened(conn).begin("shipping.ship", "event-1")
    await transaction.roll_back(ValueError("the handler's"))
    assert conn.did[-1] == "given back"


async def test_a_handler_that_caught_the_error_of_its_statement_is_not_committed():
    conn = Connection(find=RuntimeError("current transaction is aborted"))
    transaction = await opened(conn).begin("shipping.ship", "event-1")
    conn.pgconn.transaction_status = TransactionStatus.INERROR
    with pytest.raises(HandlerError, match="the handler caught the error, so the whole transaction is rolled back"):
        await transaction.commit()
    assert (conn.did[-2:], conn.marks) == (["roll back", "given back"], set())


async def test_a_handler_that_ended_the_transaction_itself_is_a_failure_and_not_a_silent_loss_of_the_mark():
    conn = Connection()
    transaction = await opened(conn).begin("shipping.ship", "event-1")
    conn.pgconn.transaction_status = TransactionStatus.IDLE
    conn.pending.clear()
    with pytest.raises(HandlerError, match=r"the handler ended event\.transaction, which is"):
        await transaction.commit()
    assert conn.did[-1] == "given back"


async def test_a_connection_that_is_in_a_transaction_already_is_refused_and_given_back():
    conn = Connection()
    conn.pgconn.transaction_status = TransactionStatus.INTRANS
    with pytest.raises(HandlerError, match=r"for postgres:shop \(.*Connection\) is in a transaction already"):
        await opened(conn).begin("shipping.ship", "event-1")
    assert conn.did == ["given back"]


async def test_a_blocking_connection_is_refused(monkeypatch):
    monkeypatch.setitem(connections._known, Connection, Psycopg())
    with pytest.raises(HandlerError, match="is a blocking one; it must be an AsyncConnection of psycopg 3"):
        await opened(Connection()).begin("shipping.ship", "event-1")


async def test_a_closed_inbox_begins_nothing():
    inbox = Inbox(Database("shop", "postgresql:///shop"))
    with pytest.raises(StorageError, match="postgres:shop is closed"):
        await inbox.begin("shipping.ship", "event-1")
