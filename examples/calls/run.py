"""Serve a service and call it, in one program. In this folder, `evbus services` lists it and `evbus run` serves it."""

import asyncio

import pop.hub

from evbus_like.errors import IncorrectSignature, RemoteError, RpcError, UnknownService


async def main() -> None:
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    listener = asyncio.create_task(hub.evbus.init.start({"internal": {"default": None}}))
    await hub.evbus.init.join()
    print("services:", await hub.evbus.rpc.start())
    await hub.evbus.rpc.join()

    # Names are looked up when they are called: hub.rpc.<service>.<method>
    print(await hub.rpc.world.hello("ann", times=2, timeout=5))

    later = hub.rpc.world.shout.submit("later")  # a task
    await hub.rpc.world.note.cast(text="no answer is wanted")
    print(await later)

    # From a thread without an event loop:
    print(await asyncio.to_thread(hub.rpc.world.shout.sync, "from a thread"))

    # Many at once:
    answers = await asyncio.gather(*(hub.rpc.world.divide(number, by=2) for number in range(100)))
    print(len(answers), "answers, the last:", answers[-1])

    try:
        await hub.rpc.world.divide(1, by=0)
    except RemoteError as error:
        print("RemoteError:", error.exc_type, "-", error.value)
    for call in (hub.rpc.world.hello(nmae="ann"), hub.rpc.mars.hello()):
        try:
            await call
        except (IncorrectSignature, UnknownService) as error:
            print(f"{type(error).__name__}: {error}")
    try:
        await hub.rpc.world.hello(object())
    except RpcError as error:  # the root of them all
        print(f"{type(error).__name__}: {error}")

    await hub.evbus.init.stop()
    await listener


asyncio.run(main())
