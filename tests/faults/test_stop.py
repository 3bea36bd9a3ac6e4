"""A stop while the broker has never answered: it is short, and the error callback gets every event that is lost."""

import asyncio
import time

import pytest

from evbus_like.testing import new_hub

FAULTS = {"nothing listens": "refuse", "black hole": "black_hole", "hangs up": "hang_up"}


@pytest.mark.default_grace
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_broker_that_has_never_answered_does_not_hold_up_a_stop(site, fault):
    hub, heard = new_hub(), []
    hub.OPT = {"evbus_like": {"error_callback_ref": "heard"}}
    hub.heard = lambda data: heard.append((data["body"], data["context"]["final"]))
    profile = site.profile()
    getattr(site.proxy, fault)()
    contexts = await hub.evbus.acct.profiles(acct_data={site.provider: {"default": profile}})
    listener = asyncio.create_task(hub.evbus.init.start(contexts))
    await hub.evbus.init.join()
    for number in range(1500):
        await hub.evbus.broker.put("somewhere", number)
    begun = time.monotonic()
    account = await hub.evbus.init.stop()
    took = time.monotonic() - begun
    await listener

    assert took < 15.0, "half of stop_timeout: the rest is for a busy machine"
    assert account.remaining == 1500
    assert heard == [(b"%d" % number, True) for number in range(1500)]
