"""Two workers on RabbitMQ, each a process with `evbus run`: they share pages, both hear prices, and one is killed.

The broker: EVBUS_TEST_AMQP_URL, or localhost where that is not set.
"""

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
    """A process with `evbus run`. What its handlers print goes to stderr, its own life as JSON lines to stdout."""

    async def start(self, name, credentials):
        self.process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("evbus"),
            *("run", "--json", "--acct-file", credentials),
            cwd=HERE,
            env={**os.environ, "WORKER": name},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async for line in self.process.stdout:
            if json.loads(line)["event"] == "receiving":
                return self
        raise SystemExit(f"{name} did not start: {(await self.process.stderr.read()).decode()}")

    async def said(self):
        """Give the next line that a handler prints."""
        return (await self.process.stderr.readline()).decode().strip()


async def main(credentials):
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    listener = asyncio.create_task(hub.evbus.init.start(PROFILES))
    await hub.evbus.init.join()
    workers = [await Worker().start(name, credentials) for name in ("ann", "ben")]

    await hub.evbus.broker.dispatch("editor", "prices", {"page": 2})
    print(*[await worker.said() for worker in workers], sep="\n")

    # Of two pages each worker gets one. The first page's worker never ends with it, and is killed.
    for number in (1, 2):
        await hub.evbus.broker.dispatch("editor", "page", {"number": number})
    said = [await worker.said() for worker in workers]
    print(*sorted(said, key=lambda line: line[-1]), sep="\n")
    stuck, other = sorted(workers, key=lambda worker: "page 1" not in said[workers.index(worker)])
    stuck.process.kill()
    await stuck.process.wait()
    print(await other.said())

    other.process.terminate()
    print("the other one stopped with", await other.process.wait())
    await hub.evbus.init.stop()
    await listener


async def within(seconds, credentials):
    async with asyncio.timeout(seconds):
        await main(credentials)


with tempfile.TemporaryDirectory() as folder:
    file = Path(folder, "credentials.yml")
    file.write_text(json.dumps(PROFILES))  # JSON is YAML
    file.chmod(0o600)
    asyncio.run(within(120, file))
