"""Two ingress plugins of one's own, found by pop because the package jsonl/ lies on sys.path.

jsonl/ is an app-merge package: a conf.py that names its folders, and the plugins in them.
"""

import asyncio
import tempfile
from pathlib import Path

import pop.hub

from evbus_like.errors import ProfileError


async def send(path: str) -> None:
    """Put three events, each of which goes to both plugins."""
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    contexts = {"jsonl": {"default": {"path": path}}, "shout": {"default": {"prefix": "heard"}}}
    listener = asyncio.create_task(hub.evbus.init.start(contexts))
    await hub.evbus.init.join()
    for number in range(3):
        await hub.evbus.broker.put(routing_key="orders", body={"id": number})
    print(await hub.evbus.init.stop())
    await listener


async def misspelt() -> None:
    """Start with a wrong option: the profile is refused, and the right option named."""
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    try:
        await hub.evbus.init.start({"jsonl": {"default": {"paht": "events.jsonl"}}})
    except ProfileError as error:
        print(error)


with tempfile.TemporaryDirectory() as folder:
    file = Path(folder, "events.jsonl")
    asyncio.run(send(str(file)))
    print(f"{len(file.read_text().splitlines())} lines in the file")
asyncio.run(misspelt())
