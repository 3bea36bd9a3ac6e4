"""Read the profiles from a credentials file, and see where events go."""

import asyncio
import os
from pathlib import Path

import pop.hub

FILE = Path(__file__).with_name("credentials.yml")


async def main() -> None:
    os.chmod(FILE, 0o600)  # a credentials file is its owner's alone; others' eyes are warned about
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    contexts = await hub.evbus.acct.profiles(acct_file=str(FILE))
    print(
        "profiles:", {provider: [name for group in groups for name in group] for provider, groups in contexts.items()}
    )

    listener = asyncio.create_task(hub.evbus.init.start(contexts))
    await hub.evbus.init.join()
    for profile in ("default", "audit.login", "nobody"):
        receipt = await hub.evbus.broker.put(routing_key="users", body={"user": "ann"}, profile=profile)
        print(f"profile={profile!r} goes to", receipt.destinations or "nobody")

    users, audit = await hub.ingress.internal.get("users"), await hub.ingress.internal.get("audit")
    print("users queue:", await users.get())
    print("audit queue:", hub.serialize.msgpack.load(await audit.get()))
    await hub.evbus.init.stop()
    await listener


asyncio.run(main())
