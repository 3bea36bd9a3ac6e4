"""Sites: a queue or topic of a real broker, written through a proxy and read directly."""

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

# Options of a profile that make a bus notice faults and recoveries soon. aiokafka retries by itself, so a lane notices
# an absent Kafka only at its timeout.
QUICK = {"timeout": 2.0, "retry": {"first": 0.05, "max": 0.5, "refused_cap": 0.3}}


@dataclass(frozen=True)
class ReceivedMessage:
    """One message as it was received."""

    id: str
    key: str
    number: int


class Site:
    """Where the events of a test are sent: `profile` leads there through the proxy, `arrived` reads what is there."""

    provider = ""

    def __init__(self, broker: Any, proxy: Proxy, name: str) -> None:
        self.broker = broker
        self.proxy = proxy
        self.name = name
        self.lane = f"{self.provider}:default"

    def profile(self, connection: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        """Give the data of the profile."""
        raise NotImplementedError

    async def make(self) -> None:
        """Create the durable queue or the topic."""
        raise NotImplementedError

    async def arrived(self) -> list[ReceivedMessage]:
        """Read all messages in order (Kafka: in the order of each key)."""
        raise NotImplementedError

    async def count(self) -> int:
        """Count the messages without removing them."""
        raise NotImplementedError

    @asynccontextmanager
    async def bus(self, hub: Any = None, **options: Any) -> AsyncIterator[Any]:
        """Run a bus whose only profile leads here."""
        async with running({self.provider: {"default": self.profile(**options)}}, hub) as hub:
            yield hub

    def status(self, hub: Any) -> dict[str, Any]:
        """Give the status of the lane, such as its state, trouble and number of waiting events."""
        return hub.evbus.init.status()["destinations"][self.lane]

    async def until(self, hub: Any, *states: str) -> str:
        """Wait until the lane has one of these states, and give its trouble."""
        await eventually(lambda: self.status(hub)["state"] in states)
        return self.status(hub)["trouble"]

    async def flows(self, hub: Any, count: int = 50) -> None:
        """Wait until `count` more events have been delivered."""
        since = self.delivered(hub)
        await eventually(lambda: self.delivered(hub) >= since + count)

    def delivered(self, hub: Any) -> int:
        """Count the events that the lane has delivered."""
        return next(lane.delivered for lane in hub.evbus.init.account().lanes if lane.destination == self.lane)

    async def kill(self) -> None:
        """SIGKILL the broker."""
        await asyncio.to_thread(self.broker.kill)

    async def start(self) -> None:
        """Start the broker again."""
        await asyncio.to_thread(self.broker.start)


class RabbitSite(Site):
    """A topic exchange with one queue for all messages, so the queue has the order of all keys."""

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
                        found.append(parse(message.message_id, message.body))
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
            parse(dict(record.headers)["evbus-id"].decode(), record.value)
            for record in await read(self.broker.bootstrap, self.name, 0)
            if record.value is not None
        ]


def parse(event_id: str, body: bytes) -> ReceivedMessage:
    """Parse a message of `sender.Sender`."""
    content = json.loads(body)
    return ReceivedMessage(event_id, content["key"], content["number"])
