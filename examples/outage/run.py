"""What a handler depends on is down: rules, a breaker, a filter, a rate, and a batch with one bad row."""

import asyncio
import logging

import pop.hub

from evbus_like.testing import eventually

logging.getLogger("evbus_like").setLevel(logging.CRITICAL)  # the failures are on purpose


async def main() -> None:
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    listener = asyncio.create_task(hub.evbus.init.start({"internal": {"default": None}}))
    await hub.evbus.init.join()
    hub.BANK_IS_DOWN, hub.SETTLED, hub.ROWS = True, [], []
    await hub.evbus.handlers.start()
    await hub.evbus.handlers.join()

    def of(name: str) -> dict:
        return next(each for each in hub.evbus.handlers.status().values() if each["handler"] == f"payments.{name}")

    for body in ({"amount": 1}, {"amount": 2}, {"nothing": 3}):
        await hub.evbus.broker.dispatch("shop", "paid", body)
    await hub.evbus.broker.dispatch("shop", "paid", {"amount": 0}, headers={"test": True})
    await eventually(lambda: of("settle")["state"] == "tripped", timeout=10)
    print("tripped:", of("settle")["trouble"].partition(";")[0])
    hub.BANK_IS_DOWN = False
    await eventually(lambda: of("settle")["handled"] == 2, timeout=10)
    print("settled {}, filtered {filtered}, dead letters {dead}".format(sorted(hub.SETTLED), **of("settle")))

    for page in ("home", "cart", 404, "home"):
        await hub.evbus.broker.dispatch("shop", "viewed", {"page": page})
    await eventually(lambda: of("count")["handled"] + of("count")["dead"] == 4, timeout=10)
    print("stored {}, dead letters {dead}".format(hub.ROWS, **of("count")))

    await hub.evbus.init.stop()
    await listener


asyncio.run(main())
