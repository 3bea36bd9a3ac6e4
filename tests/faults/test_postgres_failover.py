"""The application's PostgreSQL fails over to its replica, while events are stored and relayed."""

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from evbus_like.postgres import ddl
from evbus_like.testing import eventually, running
from tests.brokers.needs import postgres_missing
from tests.brokers.postgres import PostgreSQL
from tests.brokers.postgres_replica import Replica
from tests.integration.support import DEADLINE

WORK = "create table work (event_id text);"


@pytest.fixture
def primary(postgres: PostgreSQL) -> Iterator[PostgreSQL]:
    """A server of this test alone, since it is lost; `postgres` skips the test where there is none."""
    assert postgres_missing() is None
    server = PostgreSQL()
    server.start()
    yield server
    server.close()


@pytest.fixture
def replica(primary: PostgreSQL) -> Iterator[Replica]:
    server = Replica(primary)
    server.follow()
    yield server
    server.close()


async def test_after_a_failover_to_the_replica_every_committed_event_is_delivered_and_no_other(
    primary: PostgreSQL, replica: Replica
) -> None:
    # Given an application that knows both servers, and wants the one that can be written
    shop = primary.database()
    primary.sql(ddl.statements() + WORK, shop)
    hosts = f"{primary.host}:{primary.port},{replica.host}:{replica.port}"
    url = f"postgresql://postgres@{hosts}/{shop}?target_session_attrs=read-write&connect_timeout=5"
    profiles = {
        "internal": {"default": {"routing_key": "all"}},
        "postgres": {"shop": {"connection": url, "timeout": 3, "lease": 2}},
    }
    answered: list[str] = []
    going = True
    async with running(profiles) as hub:
        received = hub.ingress.internal.mailbox("all").items

        async def work() -> None:
            while going:
                try:
                    async with asyncio.timeout(5), await psycopg.AsyncConnection.connect(url) as conn:
                        while going:
                            receipt = await hub.evbus.broker.put("x", 1, within=conn)
                            await conn.execute("insert into work values (%s)", [receipt.id])
                            await conn.commit()
                            answered.append(receipt.id)
                except Exception:
                    await asyncio.sleep(0.1)

        # When the primary is gone in the midst of it, and the replica takes its place
        working = asyncio.create_task(work())
        await eventually(lambda: len(received) > 100, DEADLINE)
        await asyncio.to_thread(primary.kill)
        await asyncio.to_thread(replica.promote)
        before = len(answered)
        await eventually(lambda: len(answered) > before + 100, DEADLINE)
        going = False
        await working
        waiting = "select count(*) from evbus_outbox"
        await eventually(lambda: replica.sql(waiting, shop) == "0\n", DEADLINE)

        # Then what was received is what the replica has as committed, and that is all that was answered
        committed = set(replica.sql("select event_id from work", shop).split())
        assert committed >= set(answered)
        assert {event.id for event in received} == committed
