"""The torn outbox: a publisher is killed, its outbox is cut, and it is started again.

Events that were cut away are not lost by the bus. Checked is that the publisher starts, that it logs what it found, and
that all of it arrives in order, as does everything put afterwards.
"""

import asyncio
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.faults.sites import Site
from tests.faults.soak.publisher import SKIPPED
from tests.faults.soak.publishers import Publisher
from tests.faults.soak.side_file import highest, recorded
from tests.faults.soak.wal import cut_file, cut_log

ENOUGH = 100  # events put to each lane before the kill, and after it
DEADLINE = 120.0  # seconds for each step
LEFT = re.compile(r"(\d+) events for \S+ were left in the outbox")
DAMAGED = "the outbox was damaged"


@dataclass
class TornResults:
    """The results of all cuts of a soak, in events."""

    rounds: list[str] = field(default_factory=list)
    put: int = 0
    arrived: int = 0
    torn_away: int = 0
    violations: list[str] = field(default_factory=list)


async def tear(publisher: Publisher, sites: list[Site], choose: random.Random, how: str, torn: TornResults) -> None:
    """Cut the outbox of one publisher: `how` is "log" or "file"."""
    share = choose.uniform(0.3, 0.95)
    for site in sites:  # so that every event waits in the outbox
        site.proxy.refuse()
    try:
        await publisher.start()
        await put_more(publisher)
        await publisher.kill()
    finally:
        for site in sites:
            site.proxy.heal()
    publisher.ledger.read()
    before = highest(publisher.child.side_file)
    prefix = cut_log(publisher.outbox, share) if how == "log" else cut_file(publisher.outbox, share)
    put = publisher.ledger.recorded.total()
    await publisher.start()
    await put_more(publisher)
    await publisher.stop()
    publisher.ledger.read()
    await within(lambda: not any(publisher.ledger.missing(name)[2] for name in publisher.names))
    arrived, wrong = check(publisher, before, prefix, how == "file")
    torn.rounds.append(f"{how} cut to {share:.0%}")
    torn.put += put
    torn.arrived += arrived
    torn.torn_away += sum(publisher.ledger.missing(name)[1] for name in publisher.names)
    torn.violations += wrong


def check(publisher: Publisher, before: dict[str, int], prefix: bool, damaged: bool) -> tuple[int, list[str]]:
    """Check the events put before the cut; gives how many have arrived, and what is wrong."""
    wrong = list(publisher.monitor.violations)
    arrived = 0
    for (name, key), numbers in recorded(publisher.child.side_file).items():
        arrivals = publisher.arrivals(name).key(key)
        old = range(before.get(key, -1 - SKIPPED) + 1 + SKIPPED)
        there = [number for number in old if arrivals.has(number)]
        gone = [number for number in numbers if number in old and not arrivals.has(number)]
        arrived += len(there)
        if arrivals.late:
            wrong.append(f"{key}: {arrivals.late} events came out of order")
        if prefix and there and gone and gone[0] < there[-1]:
            wrong.append(f"{key}: {gone[0]} is gone and {there[-1]}, committed later, is not")
    log = publisher.child.log
    found = sum(map(int, LEFT.findall(log)))
    if found != arrived:
        wrong.append(f"{publisher.name}: {found} events were found in the torn outbox, {arrived} of them arrived")
    if damaged and DAMAGED not in log:
        wrong.append(f"{publisher.name}: the outbox was damaged and the publisher did not say so: {log[-500:]}")
    if lost := [name for name in publisher.names if publisher.ledger.missing(name)[2]]:
        wrong.append(f"{publisher.name}: events put after the cut are lost: {publisher.ledger.examples(lost[0])}")
    return arrived, wrong


async def put_more(publisher: Publisher) -> None:
    """Wait until every lane has accepted more events."""
    publisher.ledger.read()
    since = dict(publisher.ledger.recorded)

    def enough() -> bool:
        publisher.ledger.read()
        return all(publisher.ledger.recorded[name] >= since.get(name, 0) + ENOUGH for name in publisher.names)

    if not await within(enough):
        raise RuntimeError(f"{publisher.name} does not put: {publisher.child.latest}, {publisher.child.errors}")


async def within(condition: Callable[[], bool]) -> bool:
    """Wait for a condition; gives whether it became true in time."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if condition():
            return True
        await asyncio.sleep(0.1)
    return False
