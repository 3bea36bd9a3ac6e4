"""To Kafka, confluent-kafka: `produce` for each event, then `flush`; acks=all, idempotent.

The records are evbus_like's: the same key, headers and sizes, and the same batch size. `linger` is in milliseconds,
and `callback` says whether a function of ours hears of each confirm.
"""

from __future__ import annotations

from typing import Any

import orjson
from confluent_kafka import Producer
from measure import BURST, Clock, bodies, config

WARM_UP = 100
HEADERS = [("evbus-id", b"0123456789abcdef0123-ffff"), ("content-type", b"application/json")]


def main() -> None:
    """Run the leg."""
    asked = config()
    topic, count = asked["topics"][0], asked["events"]
    confirmed = 0

    def heard(error: object, message: object) -> None:
        nonlocal confirmed
        confirmed += error is None

    more: dict[str, Any] = {}
    if asked.get("callback"):
        more["on_delivery"] = heard
    if asked.get("headers", True):
        more["headers"] = HEADERS
    producer = Producer(
        {
            "bootstrap.servers": asked["bootstrap"],
            "acks": "all",
            "enable.idempotence": True,
            "batch.size": 256 * 1024,
            "linger.ms": asked.get("linger", 5),
        }
    )
    for _ in range(WARM_UP):
        producer.produce(topic, b"{}", key=b"bench")
    producer.flush(30)
    clock = Clock()
    left = BURST
    for body in bodies(asked, count):
        data = orjson.dumps(body)
        while True:
            try:
                producer.produce(topic, data, key=b"bench", **more)
                break
            except BufferError:
                producer.poll(0.01)
        left -= 1
        if not left:
            left = BURST
            producer.poll(0)
    if producer.flush(60):
        raise SystemExit("confluent-kafka could not deliver everything within 60 s")
    clock.stop(count, sent=count + WARM_UP, confirmed=confirmed)


main()
