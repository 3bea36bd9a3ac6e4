"""`evbus demo`: send 329 real webhooks through the bus."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from evbus_like.cli import common, console
from evbus_like.engine.account import Account
from evbus_like.hub.profiles import settings

DATA = Path(__file__).parent.parent / "data" / "github-webhooks.ndjson.gz"
QUEUE = "demo"
IN_MEMORY = {"internal": {"default": {"routing_key": QUEUE}}}


async def run(hub: Any) -> int:
    """Send the webhooks; without a credentials file to memory, and compare what is read back."""
    options = hub.OPT.evbus_like
    webhooks = [json.loads(line) for line in gzip.decompress(DATA.read_bytes()).splitlines()]
    events = webhooks * max(1, int(options.repeat))
    given = await common.contexts(hub) if options.acct_file else None
    reader = Reader(hub, webhooks) if given is None else None
    begun = time.perf_counter()
    with console.Progress("demo") as progress:
        async with common.running(hub, given or IN_MEMORY) as stopped:
            reading = asyncio.create_task(reader.read(len(events))) if reader else None

            def so_far() -> str:
                account = hub.evbus.init.account()
                return f"{account.put} of {len(events)} in, {account.delivered} out{common.troubles(hub)}"

            async def send() -> None:
                for count, event in enumerate(events):
                    await hub.evbus.broker.put(event["routing_key"], event["body"], confirm="accepted")
                    if count % 50 == 0:
                        progress.show(so_far())
                        await asyncio.sleep(0)

            await common.unless_stopped(stopped, send())
            account = await common.drain(hub, float(options.timeout), progress, so_far)
            if reading is not None:
                await asyncio.wait([reading], timeout=5.0)
                reading.cancel()
                if reading.done() and not reading.cancelled():
                    reading.result()
    seconds = time.perf_counter() - begun
    well = account.complete and account.put == len(events) and (reader is None or reader.equal == len(events))
    if options.json:
        console.document(_facts(account, seconds, reader, len(events)))
    else:
        kinds = len({each["routing_key"].split(".")[1] for each in webhooks})
        console.account_table(f"{len(events)} webhooks of {kinds} kinds", account)
        per_second = f"{account.delivered / seconds:,.0f} events/s"
        print(f"{account.put} in, {account.delivered} out in {seconds:.2f} s: {per_second}")
        if reader:
            print(f"{reader.received} read back from memory, {reader.equal} with equal bodies")
    number = getattr(stopped, "number", None)
    if number is not None and not well:
        counts = f"{account.delivered} delivered, {account.remaining} not"
        print(f"evbus demo: ended by {signal.Signals(number).name}: {counts}", file=sys.stderr)
        return 128 + int(number)
    return 0 if well else 1


def _facts(account: Account, seconds: float, reader: Reader | None, count: int) -> dict[str, Any]:
    return {
        "events": count,
        "seconds": round(seconds, 3),
        "rate": round(account.delivered / seconds),
        "received": reader.received if reader else None,
        "equal": reader.equal if reader else None,
        "account": account.as_dict(),
    }


class Reader:
    """Reads the in-memory queue back and compares each body with what was sent."""

    def __init__(self, hub: Any, webhooks: list[Any]) -> None:
        self._hub = hub
        self._load = hub.serialize[settings.serializer_name(hub)].load
        self._webhooks = webhooks
        self.received = 0
        self.equal = 0

    async def read(self, count: int) -> None:
        """Read `count` bodies."""
        queue = await self._hub.ingress.internal.get(QUEUE)
        for index in range(count):
            body = self._load(await queue.get())
            self.received += 1
            self.equal += body == self._webhooks[index % len(self._webhooks)]["body"]
