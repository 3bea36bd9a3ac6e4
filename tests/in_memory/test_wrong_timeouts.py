"""Wrong timeouts are named as such before anything happens."""

import asyncio
import math
from datetime import timedelta
from decimal import Decimal

import pytest

from evbus_like import errors
from evbus_like.engine.suggest import shown
from evbus_like.testing import new_hub, running

WRONG = ["10", "soon", -1, -0.001, math.nan, math.inf, -math.inf, True, False, 1e300, 10**400, 10**5000, 31_536_001,
         b"1", [1], {}, timedelta(seconds=1), Decimal(1), 1j]  # fmt: skip
CALLS = {
    "stop": lambda hub, timeout: hub.evbus.init.stop(timeout),
    "join": lambda hub, timeout: hub.evbus.init.join(timeout),
    "reload": lambda hub, timeout: hub.evbus.init.reload({}, timeout),
    "put": lambda hub, timeout: hub.evbus.broker.put("k", 1, timeout=timeout),
    "put delivered": lambda hub, timeout: hub.evbus.broker.put("k", 1, timeout=timeout, confirm="delivered"),
    "dispatch": lambda hub, timeout: hub.evbus.broker.dispatch("shop", "sold", 1, timeout=timeout),
    "stop handlers": lambda hub, timeout: hub.evbus.handlers.stop(timeout),
    "stop services": lambda hub, timeout: hub.evbus.rpc.stop(timeout),
    "call": lambda hub, timeout: hub.evbus.rpc.call("shop", "sell", timeout=timeout),
    "call of a proxy": lambda hub, timeout: hub.rpc.shop.sell(timeout=timeout),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_wrong_timeout_is_named_before_anything_happens(call):
    async with running() as hub:
        for value in WRONG:
            with pytest.raises((ValueError, errors.BadRequest), match=r"^timeout must be .*seconds.*, not "):
                await call(hub, value)
        await hub.evbus.broker.put("k", 1, timeout=5)
        assert hub.evbus.init.status()["state"] == "running"
        account = hub.evbus.init.account()
    assert (account.put, account.rejected) == (1, 0)


@pytest.mark.parametrize("value", WRONG, ids=shown)
def test_a_wrong_timeout_of_a_thread_or_of_a_signal_is_named_at_once(value):
    hub = new_hub()
    with pytest.raises(ValueError, match="timeout must be"):
        hub.evbus.init.background(timeout=value)
    for function in (hub.evbus.init.stop_on_signals, hub.evbus.init.reload_on_signal):
        with pytest.raises(ValueError, match="timeout must be"):
            function(value)


def test_a_wrong_timeout_of_a_put_that_blocks_is_named():
    with new_hub().evbus.init.background({}) as bus:
        for value in WRONG:
            with pytest.raises(errors.BadEvent, match="timeout must be"):
                bus.put("k", 1, timeout=value)
        assert bus.put("k", 1, timeout=5).id
    assert bus.account.put == 1


async def test_a_join_without_a_timeout_waits_for_ever():
    hub = new_hub()
    joining = asyncio.create_task(hub.evbus.init.join(None))
    await asyncio.sleep(0.01)
    assert not joining.done()
    joining.cancel()
