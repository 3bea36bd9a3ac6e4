"""Note what the real nameko sends, for machines that cannot run it: `python -m tests.interop.record`."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from evbus_like.testing import eventually
from tests.brokers.rabbitmq import RabbitMQ
from tests.integration.support import channel
from tests.interop import services, venv
from tests.interop.recorder import recording

NOTES = Path(__file__).with_name("nameko-2.14.1.json")
SOURCE = "orders"
DISPATCHED = 3


async def record(rabbitmq: RabbitMQ, folder: Path) -> dict[str, Any]:
    """Run both services and give what each of them sent."""
    import aio_pika

    notes: dict[str, Any] = {}
    for what, queues in (("Handles", 5), ("Dispatches", 1)):
        async with recording(rabbitmq.port) as recorder:

            def reads(queues: int = queues) -> bool:
                rows = json.loads(rabbitmq.ctl("list_queues", "name", "consumers", "--formatter", "json"))
                return sum(row["consumers"] for row in rows) >= queues

            url = f"amqp://guest:guest@127.0.0.1:{recorder.port}/"
            async with services.running(venv.python(), url, folder, SOURCE, what, reads):
                if what == "Dispatches":
                    async with channel(rabbitmq.url) as opened:
                        exchange = await opened.get_exchange(f"{SOURCE}-go.events")
                        go = aio_pika.Message(b"[0, %d]" % DISPATCHED, content_type="application/json")
                        await exchange.publish(go, "go")
                    await eventually(lambda r=recorder: len(published(r.methods())) == DISPATCHED)
            notes[what] = unique(recorder.methods())
    return notes


def published(methods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give the messages among what was noted."""
    return [method for method in methods if method["method"] == "Basic.Publish"]


def unique(methods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what was said before in the same words."""
    found: list[dict[str, Any]] = []
    for method in methods:
        if method not in found:
            found.append(method)
    return found


def main() -> None:
    """Write the notes anew."""
    rabbitmq = RabbitMQ()
    try:
        rabbitmq.start()
        with tempfile.TemporaryDirectory() as folder:
            notes = asyncio.run(record(rabbitmq, Path(folder)))
    finally:
        rabbitmq.close()
    NOTES.write_text(json.dumps(notes, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
