"""Sites: a queue or a topic of a real broker, reached through a proxy and read past it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aio_pika

from evbus_like.testing import eventually, running
from tests.faults.proxy import Proxy
from tests.integration.support import DEADLINE, channel, create_topic, read

# Options of a profile, so that trouble is noticed and its end found soon. aiokafka tries again by itself: a lane hears
# of an absent Kafka at its deadline only.
QUICK = {"timeout": 2.0, "retry": {"first": 0.05, "max": 0.5, "refused_cap": 0.3}}


@dataclass(frozen=True)
class Arrived:
    """One message as the receiver has it."""

    id: str
    key: str
    number: int


class Site:
    """Where a test's events go: `profile` gives the way there through the proxy, `arrived` reads what is there."""

    provider = ""

    def __init__(self, broker: Any, proxy: Proxy, name: str) -> None:
        self.broker = broker
        self.proxy = proxy
        self.name = name
        self.lane = f"{self.provider}:default"

    def profile(self, connection: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        """Give the profile's data."""
        raise NotImplementedError

    async def make(self) -> None:
        """Make the queue or the topic, durable."""
        raise NotImplementedError

    async def arrived(self) -> list[Arrived]:
        """Read all that is there, in its order (Kafka: in the order of each key)."""
        raise NotImplementedError

    async def count(self) -> int:
        """Say how many messages are there, and leave them."""
        raise NotImplementedError

    @asynccontextmanager
    async def bus(self, hub: Any = None, **options: Any) -> AsyncIterator[Any]:
        """Run a bus whose only profile leads here."""
        async with running({self.provider: {"default": self.profile(**options)}}, hub) as hub:
            yield hub

    def status(self, hub: Any) -> dict[str, Any]:
        """Give the lane's state, trouble and how many wait."""
        return hub.evbus.init.status()["destinations"][self.lane]

    async def until(self, hub: Any, *states: str) -> str:
        """Wait for one of these states of the lane, and give its trouble."""
        await eventually(lambda: self.status(hub)["state"] in states)
        return self.status(hub)["trouble"]

    async def flows(self, hub: Any, count: int = 50) -> None:
        """Return when `count` more events were delivered."""
        since = self.delivered(hub)
        await eventually(lambda: self.delivered(hub) >= since + count)

    def delivered(self, hub: Any) -> int:
        """Say how many events the lane has delivered."""
        return next(lane.delivered for lane in hub.evbus.init.account().lanes if lane.destination == self.lane)

    async def kill(self) -> None:
        """SIGKILL the broker."""
        await asyncio.to_thread(self.broker.kill)

    async def start(self) -> None:
        """Start the broker again."""
        await asyncio.to_thread(self.broker.start)


class RabbitSite(Site):
    """A topic exchange whose every message goes to one queue, so the queue has the order of all keys."""

    provider = "amqp"

    def profile(self, connection=None, **options):
        address = {"host": self.broker.host, "port": self.proxy.port}
        return {"connection": {**address, **(connection or {})}, "exchange": self.name, **QUICK, **options}

    async def make(self):
        async with channel(self.broker.url) as opened:
            exchange = await opened.declare_exchange(self.name, aio_pika.ExchangeType.TOPIC, durable=True)
            queue = await opened.declare_queue(self.name, durable=True)
            await queue.bind(exchange, "#")

    async def count(self):
        async with channel(self.broker.url) as opened:
            queue = await opened.declare_queue(self.name, passive=True)
            return queue.declaration_result.message_count

    async def arrived(self):
        found = []
        async with asyncio.timeout(DEADLINE), channel(self.broker.url) as opened:
            await opened.set_qos(prefetch_count=1000)
            queue = await opened.declare_queue(self.name, passive=True)
            left = queue.declaration_result.message_count
            if left:
                async with queue.iterator() as messages:
                    async for message in messages:
                        await message.ack()
                        found.append(parsed(message.message_id, message.body))
                        if len(found) == left:
                            break
        return found


class KafkaSite(Site):
    """A topic of two partitions; routing keys are record keys."""

    provider = "kafka"

    def profile(self, connection=None, **options):
        address = {"bootstrap_servers": f"{self.broker.host}:{self.proxy.port}", "request_timeout_ms": 3000}
        return {"connection": {**address, **(connection or {})}, "topics": [self.name], **QUICK, **options}

    async def make(self):
        await create_topic(self.broker.bootstrap, self.name)

    async def count(self):
        return len(await read(self.broker.bootstrap, self.name, 0))

    async def arrived(self):
        return [
            parsed(dict(record.headers)["evbus-id"].decode(), record.value)
            for record in await read(self.broker.bootstrap, self.name, 0)
            if record.value is not None
        ]


def parsed(event_id: str, body: bytes) -> Arrived:
    """Read a message of `book.Book`."""
    content = json.loads(body)
    return Arrived(event_id, content["key"], content["number"])
