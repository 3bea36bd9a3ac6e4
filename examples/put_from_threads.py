"""Put events from threads, from another event loop, and before any event loop runs."""

import asyncio
import threading

import pop.hub

hub = pop.hub.Hub()
hub.pop.sub.add(dyne_name="evbus")
hub.evbus.broker.put_nowait(routing_key="work", body="before any loop")


def thread(name: str) -> None:
    """Put without an event loop: put_nowait never waits."""
    for number in range(100):
        hub.evbus.broker.put_nowait(routing_key="work", body=f"{name} {number}")


def thread_with_a_loop() -> None:
    """Put from an event loop that is not the bus's; it returns when the bus has accepted the event."""
    receipt = asyncio.run(hub.evbus.broker.put(routing_key="work", body="another loop"))
    print("accepted for", receipt.destinations)


async def main() -> None:
    listener = asyncio.create_task(hub.evbus.init.start({"internal": {"default": {}}}))
    await hub.evbus.init.join()
    threads = [threading.Thread(target=thread, args=(name,)) for name in ("a", "b")]
    threads.append(threading.Thread(target=thread_with_a_loop))
    for each in threads:
        each.start()
    for each in threads:
        await asyncio.to_thread(each.join)
    account = await hub.evbus.init.stop()
    await listener
    print(account)

    queue = await hub.ingress.internal.get("work")
    bodies = [hub.serialize.json.load(queue.get_nowait()) for _ in range(queue.qsize())]
    print(len(bodies), "events; the first:", bodies[0])
    for name in ("a", "b"):
        kept = [body for body in bodies if body.startswith(f"{name} ")]
        print(f"thread {name} in its order:", kept == [f"{name} {number}" for number in range(100)])


asyncio.run(main())
