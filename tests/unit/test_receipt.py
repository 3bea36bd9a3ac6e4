"""engine/receipt.py: what put gives back."""

import asyncio

import pytest

from evbus_like.engine.errors import BusStopped, PoisonEvent
from evbus_like.engine.receipt import Receipt
from evbus_like.engine.waiting import NEVER, DeadlineTimer


def test_it_tells_queued_from_matched_from_delivered():
    receipt = Receipt("id")
    assert (receipt.matched, receipt.delivered, receipt.pending) == (False, False, ())

    receipt.accept(("a", "b"))
    assert (receipt.matched, receipt.delivered, receipt.pending) == (True, False, ("a", "b"))

    receipt.settle("a", "delivered")
    receipt.settle("b", "delivered")
    assert (receipt.delivered, receipt.pending) == (True, ())


def test_it_is_not_delivered_where_one_destination_gave_up():
    receipt = Receipt("id", ("a",))

    receipt.settle("a", PoisonEvent("no"))

    assert not receipt.delivered
    assert repr(receipt) == "<Receipt id destinations=('a',) outcomes={'a': 'PoisonEvent'}>"


async def test_who_waits_hears_of_a_refusal():
    receipt = Receipt("id")
    waiting = asyncio.create_task(receipt.wait_accepted(DeadlineTimer(), NEVER))
    await asyncio.sleep(0)

    receipt.withdraw(BusStopped("stopped"))

    with pytest.raises(BusStopped):
        await waiting
    assert receipt.withdrawn


async def test_who_leaves_before_acceptance_withdraws_the_event():
    receipt = Receipt("id")
    waiting = asyncio.create_task(receipt.wait_accepted(DeadlineTimer(), NEVER))
    await asyncio.sleep(0)

    waiting.cancel()
    await asyncio.wait([waiting])

    assert receipt.withdrawn
