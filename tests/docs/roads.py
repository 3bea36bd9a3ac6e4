"""The roads of an event put, of a received event and of a call: the files whose functions run on the way, in memory.

`python -m tests.docs.roads` prints them as CONTRIBUTING lists them, `--json` as JSON. A list is in order of first use.
Each road is taken several times and only what runs every time is kept, so that timers of the bus do not count. With
`--first` it is taken once, including what happens only the first time.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import evbus_like
from evbus_like.testing import new_hub, running
from tests import rpc
from tests.docs.blocks import DEADLINE, ROOT

PACKAGE = f"{Path(evbus_like.__file__).parent}/"
WARM_UP, ROUNDS = 3, 5
MOST = {"put": 14, "handler": 22, "call": 22}  # files on each road
TITLES = {
    "put": "An event is put, and a queue in memory has it",
    "handler": "An event of a service is put, and a handler has handled it",
    "call": "A method is called, and its answer is back",
}
APPLICATION = {
    "service__world": "async def hello(hub, name):\n    return name",
    "handler__shop": '@evbus.handler("orders", "placed")\nasync def ship(hub, event):\n    hub.SEEN.append(event.body)',
}


class Recorder:
    """Notes the package's files whose functions are called or resumed, in every thread, while it is on."""

    def __init__(self) -> None:
        self.files: dict[str, None] = {}
        self.on = True

    def __enter__(self) -> Recorder:
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if self.on and event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            self.files[frame.f_code.co_filename.removeprefix(PACKAGE)] = None

    async def until(self, ended: Callable[[], bool]) -> None:
        """Let other tasks run until something has ended; the look itself is not noted."""
        more = 20  # turns of the loop after the end, for clean-up
        while more:
            await asyncio.sleep(0)
            self.on = False
            more -= more < 20 or ended()
            self.on = True


async def road(take: Callable[[], Awaitable[Any]], ended: Callable[[], bool], first: bool = False) -> list[str]:
    """Take a road until it has ended, and give its files."""
    always: dict[str, None] | None = None
    for lap in range(1 if first else WARM_UP + ROUNDS):
        await asyncio.sleep(0.05)  # the loop is idle before each lap
        with Recorder() as recorder:
            await take()
            await recorder.until(ended)
        if lap >= WARM_UP or first:
            seen = recorder.files
            always = seen if always is None else {each: None for each in always if each in seen}
    return list(always or ())


async def roads(first: bool = False) -> dict[str, list[str]]:
    """Take the three roads; the application must be on sys.path."""
    hub = new_hub()
    hub.SEEN = []
    async with running(None, hub, timeout=5.0):
        await hub.evbus.handlers.start()
        await hub.evbus.rpc.start()
        await hub.evbus.handlers.join(30.0)
        await hub.evbus.rpc.join(30.0)
        mailbox = await hub.ingress.internal.get("orders.new")

        def delivered() -> bool:
            return mailbox.qsize() > 0 and bool(mailbox.get_nowait())

        def settled() -> bool:
            (stats,) = hub.evbus.handlers.status().values()
            return bool(hub.SEEN) and stats["received"] == stats["handled"]

        async def dispatch() -> None:
            hub.SEEN.clear()
            await hub.evbus.broker.dispatch("orders", "placed", {"id": 7})

        return {
            "put": await road(lambda: hub.evbus.broker.put("orders.new", {"id": 7}), delivered, first),
            "handler": await road(dispatch, settled, first),
            "call": await road(lambda: hub.rpc.world.hello("ann"), lambda: True, first),
        }


def take_all(first: bool = False) -> dict[str, list[str]]:
    """Give the files of all roads, by the names of TITLES."""
    with tempfile.TemporaryDirectory() as folder:
        sys.path.append(str(rpc.write(Path(folder), **APPLICATION)))
        return asyncio.run(roads(first))


def in_a_process() -> dict[str, list[str]]:
    """Give the files of all roads, taken in a process of its own, which leaves no application behind."""
    command = [sys.executable, "-m", "tests.docs.roads", "--json"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=True)
    found: dict[str, list[str]] = json.loads(ran.stdout)
    return found


def markdown(found: dict[str, list[str]]) -> str:
    """Give the roads as CONTRIBUTING shows them."""
    parts = []
    for name, files in found.items():
        lines = [f"{number}. `evbus_like/{file}`" for number, file in enumerate(files, 1)]
        parts.append("\n".join([f"{TITLES[name]}:", "", *lines]))
    return "\n\n".join(parts)


def main(arguments: list[str]) -> None:
    """Print the roads."""
    found = take_all("--first" in arguments)
    if "--json" in arguments:
        print(json.dumps(found))
        return
    print(markdown(found))
    print()
    for name, files in found.items():
        print(f"{name}: {len(files)} files, at most {MOST[name]}")


if __name__ == "__main__":
    main(sys.argv[1:])
