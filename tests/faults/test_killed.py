"""The publishing process is killed: what its puts promised holds."""

import asyncio

import pytest

from tests.faults.soak.publisher import recorded
from tests.faults.soak.run import Child
from tests.faults.soak.tally import Tally

KILLS = 3


@pytest.mark.fault(24)
async def test_no_event_that_was_confirmed_as_delivered_is_lost_when_the_process_is_killed(site, tmp_path):
    # Given a publisher whose puts return when the broker has confirmed
    child = Child(tmp_path, {site.provider: {"default": site.profile()}}, confirm="delivered", report_every=0.05)
    try:
        # When it is killed at random moments, and started again
        for _ in range(KILLS):
            await child.start()
            await more_put(child)
            await child.kill()
        await child.start()
        await more_put(child)
        last = await child.stop()
    finally:
        await child.close()
    # Then every put that returned has arrived
    tally = Tally()
    for message in await site.arrived():
        tally.note(message.key, message.number)
    put = {key: numbers for (_, key), numbers in recorded(child.side_file).items()}
    assert sum(map(len, put.values())) > 100 * KILLS
    assert tally.missing(put) == []
    assert tally.total("late") == 0
    assert last["account"]["remaining"] == 0


async def more_put(child, count=150):
    """Wait until the side file has grown."""
    since = sum(map(len, recorded(child.side_file).values()))
    async with asyncio.timeout(60.0):
        while sum(map(len, recorded(child.side_file).values())) < since + count:
            await asyncio.sleep(0.02)
