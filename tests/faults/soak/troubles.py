"""The troubles that a soak chooses from: each is a way to begin and a way to end."""

import asyncio
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.faults.proxy import DOWN, UP
from tests.faults.sites import Site
from tests.faults.soak.disk import Disk
from tests.faults.soak.run import Child


@dataclass(frozen=True)
class Trouble:
    """One fault of the table; `begin` and `end` may block, so they are called in a thread."""

    name: str
    fault: int
    begin: Callable[[], Any]
    end: Callable[[], Any]
    longest: float = 15.0  # seconds

    async def happen(self, seconds: float) -> None:
        """Begin, last for a while, end."""
        await asyncio.to_thread(self.begin)
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.to_thread(self.end)


def in_turn(troubles: list[Trouble], choose: random.Random) -> Iterator[Trouble]:
    """Yield all of them in a random order, and again in another one, for ever."""
    while True:
        yield from choose.sample(troubles, len(troubles))


def of_broker(site: Site) -> list[Trouble]:
    """What keeps events from a broker at once, and holds none back: the publisher may be killed beside it."""
    broker, proxy, name = site.broker, site.proxy, site.provider
    return [
        Trouble(f"{name}: killed", 1, broker.kill, broker.start, 3.0),
        Trouble(f"{name}: restarted", 1, broker.stop, broker.start, 1.0),
        Trouble(f"{name}: port closed", 2, proxy.refuse, proxy.heal),
    ]


def of_site(site: Site, choose: random.Random) -> list[Trouble]:
    """What can happen to one broker, and to the way there."""
    proxy, broker, name = site.proxy, site.broker, site.provider

    def cut() -> None:
        proxy.cut_after(choose.randrange(1, 20_000), choose.choice([UP, DOWN]))

    return [
        *of_broker(site),
        Trouble(f"{name}: hangs up", 2, proxy.hang_up, proxy.heal),
        Trouble(f"{name}: frozen", 3, broker.pause, broker.resume),
        Trouble(f"{name}: black hole", 3, proxy.black_hole, proxy.heal),
        Trouble(f"{name}: half-open up", 3, lambda: proxy.freeze(UP), proxy.heal),
        Trouble(f"{name}: half-open down", 3, lambda: proxy.freeze(DOWN), proxy.heal),
        Trouble(f"{name}: reset", 4, proxy.reset, proxy.heal, 1.0),
        Trouble(f"{name}: cut in mid frame", 4, cut, proxy.heal, 3.0),
        Trouble(f"{name}: slow", 5, lambda: proxy.delay(choose.uniform(0.1, 5.0)), proxy.heal),
    ]


def of_rabbitmq(site: Site) -> list[Trouble]:
    """What can happen to RabbitMQ alone."""

    def watermark(fraction: str) -> None:
        site.broker.ctl("set_vm_memory_high_watermark", fraction)

    return [Trouble("amqp: memory alarm", 6, lambda: watermark("0.0001"), lambda: watermark("0.6"), 10.0)]


def of_disk(disk: Disk) -> list[Trouble]:
    """What can happen to the disk under the outboxes."""
    return [Trouble(disk.name, 25, disk.fill, disk.free, 8.0)]


def of_publisher(name: str, child: Child) -> list[Trouble]:
    """What can happen to a publishing process, short of being killed."""
    freeze, go_on = (lambda: child.signal(signal.SIGSTOP)), (lambda: child.signal(signal.SIGCONT))
    return [Trouble(f"{name}: frozen", 30, freeze, go_on, 12.0)]
