"""The faults that a soak chooses from: each can be begun and ended."""

import asyncio
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.faults.proxy import DOWN, UP
from tests.faults.sites import Site
from tests.faults.soak.disk import Disk
from tests.faults.soak.process import PublisherProcess


@dataclass(frozen=True)
class Fault:
    """One fault of the table; `begin` and `end` may block, so they are called in a thread."""

    name: str
    fault: int
    begin: Callable[[], Any]
    end: Callable[[], Any]
    longest: float = 15.0  # seconds

    async def happen(self, seconds: float) -> None:
        """Begin, wait, and end."""
        await asyncio.to_thread(self.begin)
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.to_thread(self.end)


def in_turn(faults: list[Fault], choose: random.Random) -> Iterator[Fault]:
    """Yield all of them in random order, again and again, forever."""
    while True:
        yield from choose.sample(faults, len(faults))


def of_broker(site: Site) -> list[Fault]:
    """Faults that cut a broker off at once; the publisher may be killed during them."""
    broker, proxy, name = site.broker, site.proxy, site.provider
    return [
        Fault(f"{name}: killed", 1, broker.kill, broker.start, 3.0),
        Fault(f"{name}: restarted", 1, broker.stop, broker.start, 1.0),
        Fault(f"{name}: port closed", 2, proxy.refuse, proxy.heal),
    ]


def of_site(site: Site, choose: random.Random) -> list[Fault]:
    """Faults of one broker and of the connection to it."""
    proxy, broker, name = site.proxy, site.broker, site.provider

    def cut() -> None:
        proxy.cut_after(choose.randrange(1, 20_000), choose.choice([UP, DOWN]))

    return [
        *of_broker(site),
        Fault(f"{name}: hangs up", 2, proxy.hang_up, proxy.heal),
        Fault(f"{name}: frozen", 3, broker.pause, broker.resume),
        Fault(f"{name}: black hole", 3, proxy.black_hole, proxy.heal),
        Fault(f"{name}: half-open up", 3, lambda: proxy.freeze(UP), proxy.heal),
        Fault(f"{name}: half-open down", 3, lambda: proxy.freeze(DOWN), proxy.heal),
        Fault(f"{name}: reset", 4, proxy.reset, proxy.heal, 1.0),
        Fault(f"{name}: cut in mid frame", 4, cut, proxy.heal, 3.0),
        Fault(f"{name}: slow", 5, lambda: proxy.delay(choose.uniform(0.1, 5.0)), proxy.heal),
    ]


def of_rabbitmq(site: Site) -> list[Fault]:
    """Faults of RabbitMQ alone."""

    def watermark(fraction: str) -> None:
        site.broker.ctl("set_vm_memory_high_watermark", fraction)

    return [Fault("amqp: memory alarm", 6, lambda: watermark("0.0001"), lambda: watermark("0.6"), 10.0)]


def of_disk(disk: Disk) -> list[Fault]:
    """Faults of the disk that holds the outboxes."""
    return [Fault(disk.name, 25, disk.fill, disk.free, 8.0)]


def of_publisher(name: str, child: PublisherProcess) -> list[Fault]:
    """Faults of a publishing process, except a kill."""
    freeze, go_on = (lambda: child.signal(signal.SIGSTOP)), (lambda: child.signal(signal.SIGCONT))
    return [Fault(f"{name}: frozen", 30, freeze, go_on, 12.0)]
