"""Record the traffic of the real nameko, for machines that cannot run it: `python -m tests.interop.record`."""

from __future__ import annotations

import asyncio
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from evbus_like.testing import eventually
from tests.brokers.rabbitmq import RabbitMQ
from tests.integration.support import channel
from tests.interop import services, venv
from tests.interop.recorder import Recorder, recording

NOTES = Path(__file__).with_name("nameko-2.14.1.json")
SOURCE = "orders"
DISPATCHED = 3


async def record(rabbitmq: RabbitMQ, folder: Path) -> dict[str, Any]:
    """Run the services and give what each of them sent."""
    import aio_pika

    notes: dict[str, Any] = {}
    for what, queues in (("Handles", 5), ("Dispatches", 1), ("Serves", 1), ("Calls", 2)):
        async with recording(rabbitmq.port) as recorder:

            def reads(queues: int = queues) -> bool:
                return sum(found["consumers"] for found in rabbitmq.queues("consumers").values()) >= queues

            url = f"amqp://guest:guest@127.0.0.1:{recorder.port}/"
            async with services.running(venv.python(), url, folder, SOURCE, what, reads):
                if what == "Dispatches":
                    async with channel(rabbitmq.url) as opened:
                        exchange = await opened.get_exchange(f"{SOURCE}-go.events")
                        go = aio_pika.Message(b"[0, %d]" % DISPATCHED, content_type="application/json")
                        await exchange.publish(go, "go")
                    await eventually(partial(has_published, recorder, DISPATCHED))
                if what in ("Serves", "Calls"):
                    await (_call if what == "Serves" else _serve)(rabbitmq, recorder)
            notes[what] = unique(recorder.methods())
    return notes


REQUESTS: tuple[tuple[str, list[Any], dict[str, Any]], ...] = (
    ("add", [1], {"b": 3}),
    ("fail", [], {}),
    ("nope", [], {}),
    ("add", [], {}),
    ("unserializable", [], {}),
)


async def _call(rabbitmq: RabbitMQ, recorder: Recorder) -> None:
    """Send one request for each case to the service."""
    import aio_pika

    async with channel(rabbitmq.url) as opened:
        exchange = await opened.get_exchange("nameko-rpc")
        for number, (method, args, kwargs) in enumerate(REQUESTS):
            body = json.dumps({"args": args, "kwargs": kwargs}).encode()
            message = aio_pika.Message(
                body,
                content_type="application/json",
                content_encoding="utf-8",
                reply_to="nobody",
                correlation_id=f"call-{number}",
            )
            await exchange.publish(message, f"{SOURCE}-serves.{method}")
            await eventually(partial(has_published, recorder, number + 1))


async def _serve(rabbitmq: RabbitMQ, recorder: Recorder) -> None:
    """Make the service call, and answer its request."""
    import aio_pika

    async with channel(rabbitmq.url) as opened:
        queue = await opened.declare_queue(exclusive=True)
        exchange = await opened.get_exchange("nameko-rpc")
        await queue.bind(exchange, f"{SOURCE}.*")
        go = aio_pika.Message(b'[["world", "add", [1], {"b": 3}]]', content_type="application/json")
        await (await opened.get_exchange(f"{SOURCE}-go.events")).publish(go, "go")
        await eventually(lambda: published(recorder.methods()))
        async with queue.iterator() as arrived:
            request = await anext(arrived)
            await request.ack()
        ids = {"correlation_id": request.correlation_id, "content_encoding": "utf-8"}
        answer = aio_pika.Message(b'{"result": 4, "error": null}', content_type="application/json", **ids)
        await exchange.publish(answer, request.reply_to)


def has_published(recorder: Recorder, count: int) -> bool:
    """Whether as many messages were published."""
    return len(published(recorder.methods())) == count


def published(methods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give the published messages of a recording."""
    return [method for method in methods if method["method"] == "Basic.Publish"]


def unique(methods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out repeated methods."""
    found: list[dict[str, Any]] = []
    for method in methods:
        if method not in found:
            found.append(method)
    return found


def main() -> None:
    """Record everything again."""
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
