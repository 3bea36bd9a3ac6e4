"""Record the events of idem with the real pop-evbus: `python -m tests.interop.record_idem`."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.brokers.kafka import Kafka
from tests.brokers.ports import free_port
from tests.brokers.rabbitmq import RabbitMQ
from tests.integration.support import create_topic, queue, read, take
from tests.interop import idem, venv

RECORDED = Path(__file__).with_name("idem-25.0.1-pop-evbus-7.0.1.json")
WANTED = ["idem", "pop-evbus==7.0.1", "evbus-pika==5.0.0", "evbus-kafka==5.0.0"]


def environment() -> Path:
    """Give the folder of an environment with idem and the real pop-evbus."""
    folder = venv.place("idem-pop-evbus", sys.version, *WANTED, idem.REQUIREMENTS.read_text(encoding="utf-8"))
    with venv.alone(folder):
        if not (folder / "ready").exists():
            venv.make(folder, sys.executable, WANTED, PIP_CONSTRAINT=str(idem.REQUIREMENTS))
    return folder


async def record(place: Path, folder: Path, rabbitmq: RabbitMQ, kafka: Kafka) -> dict[str, Any]:
    """Run idem with each broker, without the brokers, and without a profile."""
    runs = {"none": await _quickest(place, folder, None)}
    async with queue(rabbitmq.url, "idem-events") as made:
        runs["rabbitmq"] = await idem.state(place, folder, idem.rabbitmq(rabbitmq.port, "idem-events"))
        events = idem.events(message.body for message in await take(made, 1))
    await create_topic(kafka.bootstrap, "idem-events", 1)
    runs["kafka"] = await idem.state(place, folder, idem.kafka(kafka.bootstrap, "idem-events"))
    records = idem.events(each.value for each in await read(kafka.bootstrap, "idem-events", len(events)))
    assert records == events, "RabbitMQ and Kafka got different events"
    runs["rabbitmq down"] = await _quickest(place, folder, idem.rabbitmq(free_port(), "idem-events"))
    runs["kafka down"] = await _quickest(place, folder, idem.kafka(f"127.0.0.1:{free_port()}", "idem-events"))
    return {
        "runs": {name: {"code": run.code, "seconds": round(run.seconds, 2)} for name, run in runs.items()},
        "events": events,
    }


async def _quickest(place: Path, folder: Path, profiles: dict[str, Any] | None) -> idem.Run:
    runs = [await idem.state(place, folder, profiles) for _ in range(5)]
    return min(runs, key=lambda run: run.seconds)


def main() -> None:
    """Record everything again."""
    place, rabbitmq, kafka = environment(), RabbitMQ(), Kafka()
    try:
        rabbitmq.start()
        kafka.start()
        with tempfile.TemporaryDirectory() as folder:
            recorded = asyncio.run(record(place, Path(folder), rabbitmq, kafka))
    finally:
        rabbitmq.close()
        kafka.close()
    RECORDED.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
