"""Helpers for tests of calls: an application of service plugins, written for one test."""

import textwrap
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from evbus_like.engine.message import Message
from evbus_like.testing import running

IMPORT = "import asyncio, contextlib, threading, time\nimport evbus_like.handlers as evbus\n"


def write(root: Path, *world: str, **plugins: str) -> Path:
    """Write plugins, `service__world=source`, as a package that pop finds when the folder is on the path."""
    files = {f"{name.replace('__', '/')}.py": IMPORT + textwrap.dedent(source) for name, source in plugins.items()}
    if world:
        files["service/world.py"] = IMPORT + textwrap.dedent(world[0])
    dynes = {path.split("/")[0]: [path.split("/")[0]] for path in files}
    for path, source in {"conf.py": f"DYNE = {dynes!r}\n", "__init__.py": "", **files}.items():
        target = root / "their_app" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source)
    return root


@asynccontextmanager
async def serving(hub: Any, profiles: Any = None, timeout: float = 5.0, **opt: Any) -> Any:
    """Run a bus that serves the services of the hub."""
    if opt:
        hub.OPT = {"evbus_like": opt}
    async with running(profiles, hub, timeout) as hub:
        await hub.evbus.rpc.start()
        await hub.evbus.rpc.join(10.0)
        yield hub


def client(hub: Any) -> Any:
    """The hub's only client."""
    (found,) = hub.evbus.RUNTIME.rpc_clients._clients.values()
    return found


async def raw(
    hub: Any, routing_key: str, body: bytes, reply_to: str = "", correlation_id: str = "", **more: Any
) -> Any:
    """Send a hand-made message in memory, as any client of a broker could; gives its outcome."""
    outcomes: list[Exception | None] = []
    message = Message("nameko-rpc", routing_key, body, "hand-made", correlation_id, reply_to, **more)
    message.on_settled = outcomes.append
    await hub.egress.internal.send({"acct": {}}, None, [message])
    return outcomes[0]
