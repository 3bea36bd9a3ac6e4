"""What the tests of calls share: an application of service plugins, made up for one test."""

import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from evbus_like.testing import new_hub, running

IMPORT = "import asyncio, contextlib, threading, time\nimport evbus_like.handlers as evbus\n"


@pytest.fixture
def app(package: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """A function that writes plugins, {"service/world": source}, and gives a hub that finds them."""

    def make(*world: str, **plugins: str) -> Any:
        files = {f"{name.replace('__', '/')}.py": IMPORT + textwrap.dedent(source) for name, source in plugins.items()}
        if world:
            files["service/world.py"] = IMPORT + textwrap.dedent(world[0])
        monkeypatch.syspath_prepend(package(files))
        hub = new_hub()
        hub.SEEN = []
        return hub

    yield make
    for name in [name for name in sys.modules if name.startswith("their_app")]:
        del sys.modules[name]


@asynccontextmanager
async def serving(hub: Any, profiles: Any = None, timeout: float = 5.0, **opt: Any) -> Any:
    """A bus that serves the hub's services."""
    if opt:
        hub.OPT = {"evbus_like": opt}
    async with running(profiles, hub, timeout) as hub:
        await hub.evbus.rpc.start()
        await hub.evbus.rpc.join(10.0)
        yield hub


def client(hub: Any) -> Any:
    """The hub's only client."""
    (found,) = hub.evbus.rpc.CALLS._clients.values()
    return found


async def raw(hub: Any, routing_key: str, body: bytes, reply_to: str = "", correlation_id: str = "", **more: Any) -> Any:
    """Send a letter by hand, as anybody who reaches the broker may; gives its outcome."""
    from evbus_like.engine.rpc.letter import Letter

    letter = Letter("nameko-rpc", routing_key, body, "hand-made", correlation_id, reply_to, **more)
    made = hub.egress.internal.send({"acct": {}}, None, [letter])
    return (await (await made))[0]
