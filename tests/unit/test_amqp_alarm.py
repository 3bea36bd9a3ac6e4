"""amqp/alarm.py: it hears of connection.blocked where aiormq tells nobody."""

import asyncio

import aiormq
import pytest
from pamqp import commands

from evbus_like.amqp import alarm


@pytest.fixture
async def told():
    """A connection of aiormq that is watched, never opened, and what was told."""
    connection, told = aiormq.Connection("amqp://localhost/"), []
    assert alarm.watch(connection, told.append)
    return connection, told


async def test_a_block_is_told_with_rabbitmqs_reason_and_its_end_with_none(told):
    connection, heard = told

    await getattr(connection, alarm.BLOCKED)(commands.Connection.Blocked("low on memory"))
    assert heard == ["low on memory"]
    await getattr(connection, alarm.UNBLOCKED)(commands.Connection.Unblocked())

    assert heard == ["low on memory", None]


async def test_aiormq_itself_still_hears_of_it(told):
    connection, _ = told
    connection.connected.set()
    await getattr(connection, alarm.UNBLOCKED)(commands.Connection.Unblocked())  # as aiormq begins

    await getattr(connection, alarm.BLOCKED)(commands.Connection.Blocked("low on memory"))
    waiting = asyncio.create_task(connection.ready())
    await asyncio.sleep(0)
    assert not waiting.done()
    await getattr(connection, alarm.UNBLOCKED)(commands.Connection.Unblocked())

    await asyncio.wait_for(waiting, 10)


async def test_a_connection_that_is_lost_is_not_blocked_any_more(told):
    connection, heard = told
    await getattr(connection, alarm.BLOCKED)(commands.Connection.Blocked("low on memory"))

    connection._closing.set_exception(ConnectionError("no heartbeat"))
    for _ in range(5):
        await asyncio.sleep(0)

    assert heard == ["low on memory", None]


class Slotted:
    """An aiormq that lets nobody in."""

    __slots__ = ()

    async def refuse(self, frame):
        raise AssertionError


setattr(Slotted, alarm.BLOCKED, Slotted.refuse)
setattr(Slotted, alarm.UNBLOCKED, Slotted.refuse)


@pytest.mark.parametrize("connection", [object(), Slotted()], ids=["other names", "slots"])
async def test_an_aiormq_that_is_not_as_expected_is_not_watched(connection):
    assert not alarm.watch(connection, lambda reason: None)
