"""The publishing process is killed: no event whose put returned is lost."""

import pytest

from evbus_like.testing import eventually
from tests.faults.soak.arrivals import Arrivals
from tests.faults.soak.process import PublisherProcess
from tests.faults.soak.side_file import recorded

KILLS = 3


@pytest.mark.fault(24)
@pytest.mark.parametrize(
    "settings",
    [{"confirm": "delivered"}, {"confirm": "accepted", "options": {"outbox": "always"}}],
    ids=["confirmed", "durable"],
)
async def test_no_event_whose_put_returned_is_lost_when_the_process_is_killed(site, tmp_path, settings):
    # Given a publisher whose puts return when the broker has confirmed, or when the event is on the disk
    child = PublisherProcess(tmp_path, {site.provider: {"default": site.profile()}}, report_every=0.05, **settings)
    durable = "options" in settings
    try:
        # When it is killed at random moments, and started again
        for _ in range(KILLS):
            await child.start()
            await more_put(child)
            if durable:
                site.proxy.hang_up()  # this process cannot deliver what is on the disk
                await more_put(child)
            await child.kill()
            site.proxy.heal()
        await child.start()
        await more_put(child)
        last = await child.stop()
    finally:
        await child.close()
    # Then every put that returned has arrived, in order
    arrivals = Arrivals()
    for message in await site.arrived():
        arrivals.note(message.key, message.number)
    put = {key: numbers for (_, key), numbers in recorded(child.side_file).items()}
    assert sum(map(len, put.values())) > 100 * KILLS
    assert arrivals.missing(put) == []
    assert arrivals.total("late") == 0
    assert last["account"]["remaining"] == 0


async def more_put(child, count=150):
    """Wait until the side file has grown."""

    def lines():
        return sum(map(len, recorded(child.side_file).values()))

    since = lines()
    await eventually(lambda: lines() >= since + count)
