"""Random faults against a publishing process, for as long as you like; exit code 1 if anything was lost or leaked.

    python -m tests.faults.soak --minutes 60
    python -m tests.faults.soak --minutes 60 --kills 50    # kill the publisher too; its puts wait for the confirm

Progress goes to standard error, a summary in JSON to standard output.
"""

import argparse
import asyncio
import json
import logging
import random
import sys
import tempfile
import time
import uuid
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.brokers.fleet import Fleet
from tests.brokers.outside import OutsideBroker
from tests.faults.proxy import Proxy
from tests.faults.sites import KafkaSite, RabbitSite, Site
from tests.faults.soak import troubles
from tests.faults.soak.publisher import recorded
from tests.faults.soak.readers import KafkaReader, lasting, read_rabbitmq
from tests.faults.soak.run import Child
from tests.faults.soak.tally import Tally
from tests.faults.soak.watch import Watch

RECOVERY = 120.0  # seconds until events must flow again after a fault
DRAIN = 120.0  # seconds that the readers get for what is left at the end
LANE = {"max_events": 5000, "timeout": 5.0}


def say(text: str) -> None:
    """Tell how it goes."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Soak:
    """One run."""

    def __init__(self, given: argparse.Namespace, sites: list[Site], child: Child) -> None:
        self.given = given
        self.sites = sites
        self.child = child
        self.choose = random.Random(given.seed)
        self.tallies = {site.provider: Tally() for site in sites}
        self.watch = Watch(child)
        self.happened: dict[str, int] = {}
        self.kills = 0
        self._until = 0.0

    async def run(self) -> dict[str, Any]:
        """Do it, and give the summary."""
        started = time.monotonic()
        self._until = started + self.given.minutes * 60
        rabbit, kafka = self.sites
        kafka_reader = KafkaReader(kafka.broker.bootstrap, kafka.name, 2, self.tallies["kafka"])
        await self.child.start()
        tasks = [
            asyncio.create_task(self.watch.run()),
            asyncio.create_task(self._every_minute()),
            asyncio.create_task(
                lasting(lambda: read_rabbitmq(rabbit.broker.url, rabbit.name, self.tallies["amqp"])),
            ),
            asyncio.create_task(lasting(kafka_reader.read)),
        ]
        try:
            await self._trouble()
            last = await self.child.stop()
            await self._drained(last)
            for task in tasks[:2]:
                if task.done():
                    task.result()  # raises what ended it
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=30.0)
        return self._summary(last, time.monotonic() - started)

    async def _trouble(self) -> None:
        """Let one thing after another happen, each until events flow again."""
        rabbit = self.sites[0]
        every = [trouble for site in self.sites for trouble in troubles.of_site(site, self.choose)]
        every += troubles.of_rabbitmq(rabbit) + troubles.of_publisher(self.child)
        span = self.given.minutes * 60 / (self.given.kills + 1)
        next_kill = time.monotonic() + self.choose.uniform(0.2, 1.0) * span
        while time.monotonic() < self._until or self.kills < self.given.kills:
            late = time.monotonic() >= min(next_kill, self._until)
            if self.kills < self.given.kills and late:
                await self._kill()
                next_kill = time.monotonic() + self.choose.uniform(0.2, 1.0) * span
            else:
                trouble = self.choose.choice(every)
                say(trouble.name)
                await trouble.happen(self.choose)
                self.happened[trouble.name] = self.happened.get(trouble.name, 0) + 1
            if not await self.watch.flows(RECOVERY):
                self.watch.violations.append(f"no events flowed within {RECOVERY:.0f} s: {self.child.latest}")
                say(self.watch.violations[-1])
            if not self.child.runs:
                raise RuntimeError(f"the publisher ended by itself: {self.child.errors}")
            await asyncio.sleep(self.choose.uniform(0.0, 2.0))

    async def _kill(self) -> None:
        """Kill the publisher, while something else happens or not, and start it again."""
        say("publisher: killed")
        self.kills += 1
        if self.choose.random() < 0.5:
            self.choose.choice(self.sites).proxy.reset()
        await self.child.kill()
        await asyncio.sleep(0)
        self.watch.forget_counts()
        await self.child.start()

    async def _every_minute(self) -> None:
        """Sample the memory and say how it is, ten times at least in a short run."""
        while True:
            await asyncio.sleep(min(60.0, self.given.minutes * 60 / 10))
            self.watch.sample()
            memory = self.watch.samples[-1] / 2**20 if self.watch.samples else 0
            counts = {name: tally.total("unique") for name, tally in self.tallies.items()}
            how = self.watch.violations or "well"
            say(f"{counts} arrived, {self._total('repeats')} repeats, memory {memory:.0f} MiB, {how}")

    def _total(self, name: str) -> int:
        return sum(tally.total(name) for tally in self.tallies.values())

    async def _drained(self, last: dict[str, Any]) -> None:
        """Wait until the readers have all that was put for certain."""
        put = self._put()
        until = time.monotonic() + DRAIN
        while time.monotonic() < until and any(self._missing(put).values()):  # noqa: ASYNC110 - they tell nobody
            await asyncio.sleep(0.5)
        for name, missing in self._missing(put).items():
            if missing:
                self.watch.violations.append(f"{name}: {len(missing)} events are lost: {missing[:10]}")
        if last["account"]["remaining"]:
            self.watch.violations.append(f"events remain after the stop: {last['account']}")
        for name, tally in self.tallies.items():
            if tally.total("late"):
                self.watch.violations.append(f"{name}: {tally.total('late')} events came out of order")
            lane = next(lane for lane in last["account"]["destinations"] if lane["destination"].startswith(name))
            if not self.kills and tally.total("unique") != lane["delivered"]:
                self.watch.violations.append(f"{name}: {tally.total('unique')} arrived, {lane['delivered']} delivered")
            if not self.kills and tally.total("repeats") > lane["retries"]:
                self.watch.violations.append(f"{name}: {tally.total('repeats')} repeats, {lane['retries']} sent again")

    def _put(self) -> dict[str, dict[str, list[int]]]:
        put: dict[str, dict[str, list[int]]] = {name: {} for name in self.tallies}
        for (profile, key), numbers in recorded(self.child.side_file).items():
            if len(set(numbers)) != len(numbers):
                self.watch.violations.append(f"{profile} {key}: a number was put twice")
            put[profile][key] = numbers
        return put

    def _missing(self, put: dict[str, dict[str, list[int]]]) -> dict[str, list[tuple[str, int]]]:
        return {name: tally.missing(put[name]) for name, tally in self.tallies.items()}

    def _summary(self, last: dict[str, Any], seconds: float) -> dict[str, Any]:
        self.watch.sample()
        if not self.watch.flat and not self.kills:
            self.watch.violations.append(f"the memory grew: {self.watch.samples}")
        return {
            "seconds": round(seconds),
            "seed": self.given.seed,
            "faults": dict(sorted(self.happened.items())),
            "kills": self.kills,
            "put": {name: sum(map(len, keys.values())) for name, keys in self._put().items()},
            "arrived": {name: tally.total("unique") for name, tally in self.tallies.items()},
            "repeats": {name: tally.total("repeats") for name, tally in self.tallies.items()},
            "late": {name: tally.total("late") for name, tally in self.tallies.items()},
            "redelivered_to_the_reader": self.tallies["amqp"].redelivered,
            "reports_checked": self.watch.checked,
            "memory_mib": [round(sample / 2**20, 1) for sample in self.watch.samples],
            "account": last["account"],
            "violations": self.watch.violations,
        }


async def run(given: argparse.Namespace, fleet: Fleet, folder: Path) -> dict[str, Any]:
    """Start everything, soak, and give the summary."""
    rabbitmq, kafka = [await asyncio.to_thread(fleet.get, name) for name in ("rabbitmq", "kafka")]
    if isinstance(rabbitmq, OutsideBroker) or isinstance(kafka, OutsideBroker):
        raise SystemExit("a soak needs brokers of its own: unset the variables that name others")
    name = f"soak-{uuid.uuid4().hex[:8]}"
    async with AsyncExitStack() as stack:
        rabbit_site = RabbitSite(rabbitmq, stack.enter_context(Proxy(rabbitmq.port)), name)
        kafka_site = KafkaSite(kafka, stack.enter_context(Proxy(kafka.proxied_port, kafka.proxy_port)), name)
        sites = [rabbit_site, kafka_site]
        for site in sites:
            await site.make()
        rabbit_profile = rabbit_site.profile(connection={"heartbeat": 5}, **LANE)
        profiles = {"amqp": {"amqp": rabbit_profile}, "kafka": {"kafka": kafka_site.profile(**LANE)}}
        confirm = given.confirm or ("delivered" if given.kills else "accepted")
        child = Child(folder, profiles, confirm=confirm, options=json.loads(given.options))
        stack.push_async_callback(child.close)
        return await Soak(given, sites, child).run()


def main() -> int:
    """Read the arguments, soak, print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="to have the same choices again")
    parser.add_argument("--kills", type=int, default=0, help="how often to kill the publisher, spread over the time")
    parser.add_argument("--confirm", choices=["accepted", "delivered"], help="what the publisher's puts wait for")
    parser.add_argument(
        "--options", default="{}", help='further options of its profiles, as JSON: {"outbox": "always"}'
    )
    given = parser.parse_args()
    logging.basicConfig(level=logging.CRITICAL)  # the readers' libraries tell of every broker that dies
    with Fleet(["kafka", "rabbitmq"]) as fleet, tempfile.TemporaryDirectory(prefix="evbus-soak-") as folder:
        say(f"{given.minutes:g} minutes, seed {given.seed}")
        summary = asyncio.run(run(given, fleet, Path(folder)))
    print(json.dumps(summary, indent=2))
    return 1 if summary["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
