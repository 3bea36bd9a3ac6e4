"""Destinations, part one: bodies, headers and ids arrive as they were put."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from evbus_like.engine.errors import BadEvent, EventTooLarge
from evbus_like.testing.conformance.failing import PAGE, failure, wait_until
from evbus_like.testing.conformance.suite import Suite, bus_state
from evbus_like.testing.conformance.target import Target

TEXT = "žluťoučký 🐎 \u0000 \x7f 日本語"
BYTES = bytes(range(256))
TYPES = {
    "json": "application/json",
    "msgpack": "application/msgpack",
    "yaml": "application/yaml",
    "str": "text/plain",
}


class Bodies(Suite):
    """Bodies, headers, content types and sizes."""

    @pytest.mark.parametrize("serializer", TYPES)
    @pytest.mark.parametrize(
        "body", [TEXT, BYTES, {"a": [1, None, True, 0.5, {"é": "ö"}]}], ids=["text", "bytes", "map"]
    )
    async def test_a_body_arrives_as_the_serializer_wrote_it(self, target: Target, serializer: str, body: Any) -> None:
        async with self.bus(target, serializer=serializer) as hub:
            await hub.evbus.broker.put(target.keys[0], body, confirm="delivered")
            written = hub.serialize[serializer].dump(body)
            (record,) = await self.arrived(target, [written])
            native = BYTES if serializer != "json" else base64.b64encode(BYTES).decode()
            if not (serializer == "str" and body is BYTES):  # bytes need not be UTF-8 text
                assert hub.serialize[serializer].load(record.body) == (native if body is BYTES else body)

    @pytest.mark.parametrize(("serializer", "content_type"), TYPES.items(), ids=TYPES)
    async def test_the_content_type_of_the_serializer_arrives(
        self, target: Target, serializer: str, content_type: str
    ) -> None:
        self.needs("content_type")
        async with self.bus(target, serializer=serializer) as hub:
            await hub.evbus.broker.put(target.keys[0], {"n": 1}, confirm="delivered")
            (record,) = await self.arrived(target, [hub.serialize[serializer].dump({"n": 1})])
        assert record.content_type == content_type

    async def test_an_empty_body_arrives_empty(self, target: Target) -> None:
        async with self.bus(target) as hub:
            await hub.evbus.broker.put(target.keys[0], b"", confirm="delivered")
            assert len(await self.arrived(target, [b""])) == 1

    async def test_the_event_id_of_the_receipt_arrives(self, target: Target) -> None:
        self.needs("headers")
        async with self.bus(target) as hub:
            receipts = [await hub.evbus.broker.put(target.keys[0], b"x") for _ in range(100)]
            await hub.evbus.init.stop()
            records = await self.arrived(target, [b"x"] * 100)
        assert [record.id for record in records] == [receipt.id for receipt in receipts]
        assert len({record.id for record in records}) == 100

    async def test_headers_arrive(self, target: Target) -> None:
        self.needs("headers")
        headers = {"text": "žába", "number": 7, "fraction": 0.5, "bytes": b"\x00\xff", "empty": "", "x" * 128: "long"}
        async with self.bus(target) as hub:
            await hub.evbus.broker.put(target.keys[0], b"x", headers=headers, confirm="delivered", timeout=10.0)
            (record,) = await self.arrived(target, [b"x"])
        arrived = {name: value for name, value in record.headers.items() if name in headers}
        if self.features.typed_headers:
            if arrived != headers and as_bytes(arrived) == as_bytes(headers):
                raise failure(
                    f"headers arrive without their types: {arrived!r:.500}; declare typed_headers=False; {PAGE}"
                )
            assert arrived == headers
            assert type(arrived["number"]) is int
        else:
            assert as_bytes(arrived) == as_bytes(headers)

    @pytest.mark.parametrize(
        "odd",
        [
            {"routing_key": "\ud800"},
            {"headers": {"huge": 2**70}},
            {"headers": {"surrogate": "\ud800"}},
            {"key": "\ud800"},
        ],
        ids=["surrogate routing key", "huge header", "surrogate header", "surrogate key"],
    )
    async def test_an_event_that_cannot_be_encoded_is_rejected_or_dead_lettered_and_others_are_delivered(
        self, target: Target, odd: dict[str, Any]
    ) -> None:
        async with self.bus(target) as hub:
            hub.evbus.broker.put_nowait(target.keys[0], b"before")
            with suppress(BadEvent):
                hub.evbus.broker.put_nowait(**{"routing_key": target.keys[0], "body": b"odd", **odd})
            hub.evbus.broker.put_nowait(target.keys[0], b"after")
            await wait_until(
                lambda: hub.evbus.init.account().delivered >= 2, "two valid events", lambda: bus_state(hub), 10.0
            )
            account = await hub.evbus.init.stop(5.0)
            arrived = [record.body for record in await self.arrived(target, [b"before", b"after"])]
        assert account.remaining == 0
        assert [body for body in arrived if body != b"odd"] == self.in_order([b"before", b"after"])

    async def test_a_body_of_the_maximum_size_arrives(self, target: Target) -> None:
        body = os.urandom(self.features.max_event_bytes)
        async with self.bus(target) as hub:
            self._check_max_event_bytes(hub)
            await hub.evbus.broker.put(target.keys[0], body, confirm="delivered")
            assert len(await self.arrived(target, [body])) == 1

    async def test_put_rejects_a_body_over_the_maximum_size_and_the_next_event_is_delivered(
        self, target: Target
    ) -> None:
        async with self.bus(target) as hub:
            self._check_max_event_bytes(hub)
            with pytest.raises(EventTooLarge, match=str(self.features.max_event_bytes)):
                await hub.evbus.broker.put(target.keys[0], bytes(self.features.max_event_bytes + 1))
            await hub.evbus.broker.put(target.keys[0], b"next", confirm="delivered")
            assert len(await self.arrived(target, [b"next"])) == 1

    def _check_max_event_bytes(self, hub: Any) -> None:
        (lane,) = hub.evbus.RUNTIME.bus.lanes
        if lane.max_event_bytes != self.features.max_event_bytes:
            raise failure(
                f"max_event_bytes is {lane.max_event_bytes} for the profile and {self.features.max_event_bytes} in"
                f" Features; set both to the same number; {PAGE}"
            )


def as_bytes(headers: Mapping[str, Any]) -> dict[str, bytes]:
    """Return headers without the types of their values: the UTF-8 text of each, bytes unchanged."""
    return {name: value if isinstance(value, bytes) else str(value).encode() for name, value in headers.items()}
