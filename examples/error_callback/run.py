"""Hear of events that could not be delivered: a function on the hub, here hub.shop.failures.handle."""

import asyncio

import pop.hub

# A profile named after the destination that fails; "failed" is where the callback puts what it hears.
PROFILES = {"internal": {"orders": {"max_event_bytes": 50}, "failed": {}}}


async def main() -> None:
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    hub.pop.sub.add(dyne_name="shop")
    hub.OPT = {"evbus_like": {"error_callback_ref": "shop.failures.handle"}}  # or EVBUS_ERROR_CALLBACK_REF
    listener = asyncio.create_task(hub.evbus.init.start(PROFILES))
    await hub.evbus.init.join()

    # put_nowait does not wait for the serializer, so an error in the body reaches the callback.
    hub.evbus.broker.put_nowait(routing_key="orders", body={"price": object()}, profile="orders")
    hub.evbus.broker.put_nowait(routing_key="orders", body={"note": "x" * 100}, profile="orders")
    hub.evbus.broker.put_nowait(routing_key="orders", body={"id": 3}, profile="orders")

    failed = await hub.ingress.internal.get("failed")
    for _ in range(2):
        print("put by the callback:", await asyncio.wait_for(failed.get(), 5))
    account = await hub.evbus.init.stop()
    print(f"rejected {account.rejected}, delivered {account.delivered}")
    await listener


asyncio.run(main())
