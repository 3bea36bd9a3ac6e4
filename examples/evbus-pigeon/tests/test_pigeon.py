import asyncio
import base64
import json
from contextlib import suppress

import pytest

from evbus_like.testing.conformance import Features, IngressConformance, Record, Target

LARGEST = 1_000_000  # bytes


class Loft:
    """A loft in the process of the test; it does not use the plugin."""

    def __init__(self):
        self.port = 0
        self.events = []
        self.writers = set()

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port, limit=4 * LARGEST)
        self.port = self.server.sockets[0].getsockname()[1]

    async def kill(self):
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()

    async def serve(self, reader, writer):
        self.writers.add(writer)
        with suppress(ConnectionError):
            async for line in reader:
                writer.write(json.dumps(self.answer(json.loads(line))).encode() + b"\n")
        self.writers.discard(writer)
        writer.close()

    def answer(self, message):
        if message == "ping":
            return "ok"
        if "login" in message:
            return "ok" if message["login"] == "coo" else "wrong password"
        if message["topic"] not in ("one", "two", "three"):
            return "no such topic"
        self.events.append(message)
        return "ok"


class PigeonTarget(Target):
    provider = "pigeon"
    keys = ("one", "two", "three")
    missing_key = "four"

    def __init__(self, loft):
        self.loft = loft

    def profile(self):
        return {"host": "127.0.0.1", "port": self.loft.port, "password": "coo", "max_event_bytes": LARGEST}

    def fixed_profile(self):
        return {**self.profile(), "topic": "one"}

    def refused_profile(self):
        return {**self.profile(), "password": "moo-moo"}, "moo-moo"

    async def read(self, count):
        messages, self.loft.events = self.loft.events, []
        return [record(message) for message in messages]

    async def kill(self):
        await self.loft.kill()

    async def start(self):
        await self.loft.start()


def record(message):
    headers = {name: native(value) for name, value in message["headers"].items()}
    body = base64.b64decode(message["body"])
    return Record(message["topic"], body, message["id"], headers, message["type"])


def native(value):
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else value


class TestPigeon(IngressConformance):
    features = Features(max_event_bytes=LARGEST)

    @pytest.fixture
    async def target(self):
        loft = Loft()
        await loft.start()
        yield PigeonTarget(loft)
        await loft.kill()
