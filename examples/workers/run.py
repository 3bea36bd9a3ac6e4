"""Two workers on RabbitMQ, each a process with `evbus run`: they share pages, both get prices, and one is killed.

The broker: EVBUS_TEST_AMQP_URL, or localhost where that is not set.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

import pop.hub

HERE = Path(__file__).parent
URL = os.environ.get("EVBUS_TEST_AMQP_URL", "amqp://guest:guest@localhost/")
PROFILES = {"amqp": {"default": {"connection": {"url": URL}}}}


class Worker:
    """A process with `evbus run --json`: its handlers print to stderr, the command writes JSON lines to stdout."""

    async def start(self, name: str, credentials: Path) -> Worker:
        self.process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("evbus"),
            *("run", "--json", "--acct-file", credentials),
            cwd=HERE,
            env={**os.environ, "WORKER": name},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.printed = self.process.stderr
        async for line in self.process.stdout:
            if json.loads(line)["event"] == "receiving":
                return self
        raise SystemExit(f"{name} did not start: {(await self.printed.read()).decode()}")

    async def line(self) -> str:
        """Return the next line that a handler prints."""
        return (await self.printed.readline()).decode().strip()


async def main(credentials: Path) -> None:
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    listener = asyncio.create_task(hub.evbus.init.start(PROFILES))
    await hub.evbus.init.join()
    workers = [await Worker().start(name, credentials) for name in ("ann", "ben")]

    await hub.evbus.broker.dispatch("editor", "prices", {"page": 2})
    print(*[await worker.line() for worker in workers], sep="\n")

    # Each worker gets one of two pages. The handler of the first page never returns, so its worker is killed.
    for number in (1, 2):
        await hub.evbus.broker.dispatch("editor", "page", {"number": number})
    lines = [await worker.line() for worker in workers]
    print(*sorted(lines, key=lambda line: line[-1]), sep="\n")
    stuck, other = sorted(workers, key=lambda worker: "page 1" not in lines[workers.index(worker)])
    stuck.process.kill()
    await stuck.process.wait()
    print(await other.line())

    other.process.terminate()
    print("the other one stopped with", await other.process.wait())
    await hub.evbus.init.stop()
    await listener


async def within(seconds: float, credentials: Path) -> None:
    async with asyncio.timeout(seconds):
        await main(credentials)


with tempfile.TemporaryDirectory() as folder:
    file = Path(folder, "credentials.yml")
    file.write_text(json.dumps(PROFILES))  # JSON is YAML
    file.chmod(0o600)
    asyncio.run(within(120, file))
