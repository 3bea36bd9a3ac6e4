"""A publisher that may be killed at any moment: `python -m tests.faults.soak.publisher SETTINGS.json RUN`.

It puts numbered events, in order for each key, and writes the numbers of those whose put returned to a side file, which
is on the disk before the next of that key is put. Started again, it goes on with higher numbers. Once a second it
prints a report, a line of JSON; SIGTERM makes it stop its bus, print a last report and end.
"""

import asyncio
import json
import resource
import signal
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from evbus_like.engine.errors import BusStopped, NotDelivered, PutTimeout, StorageError
from evbus_like.testing import new_hub, running
from tests.faults.soak.side_file import SideFile, highest

SKIPPED = 10  # numbers left out after a start: the last put of a key may have returned without being recorded
STOP = 60.0  # seconds that a stop may take
REFUSED_PAUSE = 0.1  # seconds until an event that the disk refused is put again


class Streams:
    """Puts the events of all profiles and keys; `counts` counts the puts that raised."""

    def __init__(self, hub: Any, settings: dict[str, Any], run: int, side: SideFile) -> None:
        self.counts: Counter[str] = Counter()
        self._put = hub.evbus.broker.put
        self._settings = settings
        self._run = run
        self._side = side

    async def put(self, profile: str, key: str, number: int) -> None:
        """Put one event of a key after another, at the pace of the settings."""
        while True:
            known = await self._put_one(profile, key, number)
            if known is None:
                return
            if known:
                await self._side.write(profile, key, number, known, self._run)
                number += 1
            await asyncio.sleep(self._settings["pause"])

    async def _put_one(self, profile: str, key: str, number: int) -> str | None:
        """Give the event's id, "-" if its outcome is unknown, "" if it was not accepted, None once the bus stops."""
        body = {"key": key, "number": number, "filler": "x" * self._settings["size"]}
        try:
            receipt = await self._put(key, body, profile, confirm=self._settings["confirm"], timeout=5.0)
        except PutTimeout as error:  # usually there was no room, and the same number is put again
            self.counts["timed_out"] += 1
            return "-" if "not known" in str(error) else ""
        except NotDelivered:
            return "-"
        except StorageError:  # the event must not be stored; if it is, its number arrives with two ids
            self.counts["refused"] += 1
            await asyncio.sleep(REFUSED_PAUSE)
            return ""
        except BusStopped:
            return None
        return receipt.id


def report(hub: Any, streams: Streams, account: Any = None) -> None:
    """Print a report."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    line = {
        "account": (account or hub.evbus.init.account()).as_dict(),
        "status": hub.evbus.init.status()["destinations"],
        "rss": pages * resource.getpagesize(),
        "refused": streams.counts["refused"],
        "timed_out": streams.counts["timed_out"],
        "final": account is not None,
    }
    print(json.dumps(line), flush=True)


async def main(settings: dict[str, Any], run: int) -> None:
    """Publish until SIGTERM comes."""
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    path = Path(settings["side_file"])
    before, side = highest(path), SideFile(path)
    profiles = {
        provider: {name: {**data, **settings["options"]} for name, data in given.items()}
        for provider, given in settings["profiles"].items()
    }
    hub = new_hub()
    hub.OPT = {"evbus_like": {"outbox_path": settings["outbox_path"]}}
    async with running(profiles, hub) as hub:
        streams = Streams(hub, settings, run, side)
        names = [name for given in profiles.values() for name in given]
        tasks = [
            asyncio.create_task(streams.put(name, key, before.get(key, -1 - SKIPPED) + 1 + SKIPPED))
            for name in names
            for key in [f"{name}.{key}" for key in settings["keys"]]
        ]
        try:
            while not asked.is_set() and not any(task.done() for task in tasks):
                report(hub, streams)
                with suppress(TimeoutError):
                    async with asyncio.timeout(settings["report_every"]):
                        await asked.wait()
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        report(hub, streams, await hub.evbus.init.stop(STOP))
    side.close()
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2])))
