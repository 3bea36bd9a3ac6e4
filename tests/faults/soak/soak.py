"""The soak: publishers, readers, and one fault after another; in the end everything must add up."""

import asyncio
import random
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults.sites import Site
from tests.faults.soak import faults
from tests.faults.soak.arrivals import Arrivals, reused_ids
from tests.faults.soak.disk import Disk, Limit, Tmpfs
from tests.faults.soak.publishers import Publisher, as_line
from tests.faults.soak.readers import KafkaReader, lasting, read_rabbitmq
from tests.faults.soak.torn import TornResults, tear
from tests.faults.soak.violations import violations_of
from tests.faults.soak.wal import empty_log, spoil_uncommitted

RECOVERY = 120.0  # seconds until events must flow again after a fault
DRAIN = 120.0  # seconds that the readers get for what is left at the end
PATIENCE = 100.0  # seconds that an account may take to add up, since readers lose their brokers too
BESIDE = 0.75  # the share of kills that happen while a broker is down
TORN, FULL = " (a torn write at the end of its log)", " (and started with an empty log on a full disk)"
AFTERWARDS = ("", TORN, TORN, FULL)


class Soak:
    """One run; `given` are the command's arguments, `say` prints the progress.

    One publisher, "steady", is never killed: its memory must not grow and its account must be exact. The other,
    "killed", is killed now and then.
    """

    def __init__(
        self, given: Namespace, sites: list[Site], folder: Path, tmpfs: Tmpfs | None, say: Callable[[str], None]
    ) -> None:
        self.given = given
        self.sites = sites
        self.say = say
        self.folder = folder
        self.arrivals_by_provider = {site.provider: Arrivals() for site in sites}
        self.limit = Limit(lambda: [publisher.child.pid for publisher in self.publishers if publisher.child.runs])
        self.tmpfs = tmpfs
        self.disk: Disk = tmpfs or self.limit
        self.steady = self._publisher("steady", "durable", "spill", "memory", "drop")
        self.publishers = [self.steady]
        if given.kills:
            self.publishers.append(self._publisher("killed", "durable", "spill", "memory"))
        # Faults and kills have separate random numbers, so that a seed repeats both however long each takes.
        self._draw, self._draw_kills = (random.Random(f"{given.seed} {what}") for what in ("faults", "kills"))
        self._all_faults()  # refuses an --only that selects none
        self.happened: Counter[str] = Counter()
        self.violations: list[str] = []
        self.torn = TornResults()
        self.spoilt = 0
        self.beside = 0
        self.ids_used_twice = 0
        self.seconds = 0.0

    def _publisher(self, name: str, *kinds: str) -> Publisher:
        settings = {"confirm": self.given.confirm, "options": self.given.options, "pause": self.given.pause}
        return Publisher(
            name,
            kinds,
            self.sites,
            self.arrivals_by_provider,
            (self.folder, self.tmpfs.folder if self.tmpfs else self.folder),
            **settings,
        )

    async def run(self) -> None:
        """Run the soak; `violations` lists what was wrong."""
        self._started = time.monotonic()
        rabbit, kafka = self.sites
        kafka_reader = KafkaReader(kafka.broker.bootstrap, kafka.name, 2, self.arrivals_by_provider["kafka"])
        tasks = [
            asyncio.create_task(
                lasting(lambda: read_rabbitmq(rabbit.broker.url, rabbit.name, self.arrivals_by_provider["amqp"]))
            ),
            asyncio.create_task(lasting(kafka_reader.read)),
        ]
        try:
            await asyncio.gather(*(publisher.start() for publisher in self.publishers))
            minutes = asyncio.create_task(self._every_minute())
            tasks.append(minutes)
            await self._inject_faults()
            if minutes.done():
                minutes.result()  # raises what ended it
            minutes.cancel()
            await asyncio.gather(*(publisher.stop() for publisher in self.publishers))
            await self._tear()
            await self._judge()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=30.0)
            for publisher in self.publishers:
                await publisher.close()
            self.seconds = time.monotonic() - self._started

    # ---- faults

    async def _inject_faults(self) -> None:
        """Inject one fault after another, each until events flow again."""
        given, draw = self.given, self._draw
        until = time.monotonic() + given.minutes * 60
        span = given.minutes * 60 / (given.kills + 1)
        next_kill = time.monotonic() + self._draw_kills.uniform(0.2, 1.0) * span
        deck = faults.in_turn(self._all_faults(), draw)
        while time.monotonic() < until or self.kills < given.kills:
            if self.kills < given.kills and time.monotonic() >= min(next_kill, until):
                await self._kill(self.publishers[-1])
                next_kill = time.monotonic() + self._draw_kills.uniform(0.2, 1.0) * span
            else:
                fault = next(deck)
                self._begin(fault.name)
                await fault.happen(draw.uniform(0.1, min(fault.longest, given.longest)))
            await self._flows()
            await asyncio.sleep(draw.uniform(0.0, 2.0))

    def _all_faults(self) -> list[faults.Fault]:
        every = [fault for site in self.sites for fault in faults.of_site(site, self._draw)]
        every += faults.of_rabbitmq(self.sites[0]) + faults.of_disk(self.limit)
        every += faults.of_disk(self.tmpfs) if self.tmpfs else []
        every += [each for p in self.publishers for each in faults.of_publisher(p.name, p.child)]
        if chosen := self._chosen(every):
            return chosen
        names = ", ".join(fault.name for fault in every)
        raise SystemExit(f"--only {self.given.only.pattern!r} selects no fault; there are: {names}")

    def _chosen(self, every: list[faults.Fault]) -> list[faults.Fault]:
        return [fault for fault in every if self.given.only.search(fault.name)]

    @property
    def kills(self) -> int:
        """How often a publisher was killed."""
        return sum(publisher.kills for publisher in self.publishers)

    async def _kill(self, publisher: Publisher) -> None:
        """Kill a publisher and start it again; meanwhile a broker may be down, or the disk full."""
        draw = self._draw_kills
        beside = draw.choice(self._chosen([each for site in self.sites for each in faults.of_broker(site)]) or [None])
        if draw.random() > BESIDE:
            beside = None
        how = draw.choice(AFTERWARDS)
        wait, garbage = draw.uniform(0.0, 1.0), random.Random(draw.random())
        self._begin(f"publisher: killed{how}" + (f" beside {beside.name}" if beside else ""))
        if beside:
            self.beside += 1
            await asyncio.to_thread(beside.begin)
        try:
            await asyncio.sleep(wait)
            await publisher.kill()
            if how == TORN and spoil_uncommitted(publisher.outbox, garbage):
                self.spoilt += 1
            if how == FULL:
                await asyncio.to_thread(empty_log, publisher.outbox)
            await publisher.start()
            if how == FULL:
                await faults.of_disk(self.disk)[0].happen(min(self.given.longest, 3.0))
        finally:
            if beside:
                await asyncio.to_thread(beside.end)

    async def _flows(self) -> None:
        """Wait until every lane delivers again."""
        for publisher in self.publishers:
            if not await publisher.monitor.flows(RECOVERY):
                self._violate(
                    f"{publisher.name}: some lanes delivered nothing within {RECOVERY:.0f} s: {publisher.child.latest}"
                )
            if not publisher.child.runs:
                raise RuntimeError(f"{publisher.name} ended unexpectedly: {publisher.child.errors}")

    def _begin(self, name: str) -> None:
        self.happened[name] += 1
        self.say(name)

    def _violate(self, text: str) -> None:
        self.violations.append(text)
        self.say(f"WRONG: {text}")

    async def _tear(self) -> None:
        """Cut outboxes, each with its own publisher."""
        for number in range(self.given.torn):
            how = ("log", "file")[number % 2]
            publisher = self._publisher(f"torn{number}", "durable")
            self.say(f"publisher: killed, its outbox's {how} cut")
            try:
                await tear(publisher, self.sites, self._draw_kills, how, self.torn)
            finally:
                await publisher.close()
        for text in self.torn.violations:
            self._violate(text)

    # ---- the account

    async def _every_minute(self) -> None:
        """Check the accounts, sample the memory and print the progress, at least ten times in a short run."""
        put, at = 0, time.monotonic()
        while True:
            await asyncio.sleep(min(60.0, self.given.minutes * 60 / 10))
            fits = await asyncio.gather(*(publisher.adds_up(PATIENCE) for publisher in self.publishers))
            self.steady.monitor.sample()
            before, put = put, sum(publisher.ledger.recorded.total() for publisher in self.publishers)
            since, at = at, time.monotonic()
            memory = self.steady.monitor.samples[-1] / 2**20 if self.steady.monitor.samples else 0
            self.say(
                f"minute {(at - self._started) / 60:.1f}: {(put - before) / (at - since):.0f} events/s,"
                f" {self.happened.total()} faults, {self.kills} of them kills, {self.repeats} repeats,"
                f" {memory:.0f} MiB, {len(self.violations)} things wrong"
            )
            for publisher, fit in zip(self.publishers, fits, strict=True):
                self.say(f"  {publisher.name}: {as_line(publisher.line())}: {'adds up' if fit else 'DOES NOT ADD UP'}")
                if not fit:
                    self._violate(f"{publisher.name}: the account did not add up: {publisher.unaccounted()}")

    @property
    def repeats(self) -> int:
        """How many repeats there were, at all brokers."""
        return sum(arrivals.total("repeats") for arrivals in self.arrivals_by_provider.values())

    async def _judge(self) -> None:
        """Check everything that must be exact after the publishers have stopped."""
        for publisher in self.publishers:
            for text in await violations_of(publisher, DRAIN):
                self._violate(text)
        self.steady.monitor.sample()
        if not self.steady.monitor.flat:
            self._violate(f"the memory grew: {[sample // 2**20 for sample in self.steady.monitor.samples]} MiB")
        self.ids_used_twice = reused_ids([*self.arrivals_by_provider.values()])
        if self.ids_used_twice:
            self._violate(f"{self.ids_used_twice} ids were used for two events")
