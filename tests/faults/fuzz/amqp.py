"""Fuzzed messages as RabbitMQ takes them: frames written by hand, with any bytes as properties."""

from __future__ import annotations

from typing import Any

import aiormq
from aiormq.abc import ChannelFrame

from evbus_like.amqp.codec import LONGEST_NAME, content_frames, pack_shortstr, pack_table, pack_value, publish_method
from tests.faults.fuzz.material import Material

BITS = {"content_type": 15, "content_encoding": 14, "headers": 13, "delivery_mode": 12, "priority": 11}
REST = {"correlation_id": 10, "reply_to": 9, "expiration": 8, "message_id": 7, "timestamp": 6, "type": 5, "app_id": 3}
FRAME = 131_064


class AmqpMaterial(Material):
    """Makes properties and frames."""

    def short(self, *usual: str) -> bytes:
        """Return a short string: something usual, or any bytes."""
        chance = self.random
        if chance.random() < 0.7:
            return pack_shortstr(chance.choice(usual)[:LONGEST_NAME])
        raw = chance.randbytes(chance.choice((0, 1, 16, LONGEST_NAME)))
        return bytes([len(raw)]) + raw

    def table(self) -> bytes:
        """Return headers, with types of AMQP that our own sender does not use."""
        chance, entries = self.random, b""
        for name, value in self.headers().items():
            odd = chance.random() < 0.2
            entries += pack_shortstr(name) + (self.odd_value() if odd else self._packed(value))
        return pack_table({}, entries)

    def _packed(self, value: Any) -> bytes:
        if isinstance(value, dict):
            return b"F" + pack_table({}, b"".join(pack_shortstr(k[:60]) + self._packed(v) for k, v in value.items()))
        if isinstance(value, list):
            items = b"".join(map(self._packed, value))
            return b"A" + len(items).to_bytes(4, "big") + items
        return pack_value(value)

    def odd_value(self) -> bytes:
        """Return a value of a rare type, or deep."""
        chance = self.random
        deep = b"V"
        for _ in range(chance.choice((1, 5, 40))):
            deep = b"A" + len(deep).to_bytes(4, "big") + deep
        return chance.choice(
            (
                *(
                    deep,
                    b"T" + b"\xff" * 8,
                    b"T" + bytes(8),
                    b"D\xff\x7f\xff\xff\xff",
                    b"b\x80",
                    b"B\xff",
                    b"s\x80\x00",
                ),
                *(b"S\x00\x00\x00\x02\xff\xfe", b"x\x00\x00\x00\x03\x00\xff\x00", b"l\x7f" + b"\xff" * 7, b"u\xff\xff"),
            )
        )

    def properties(self, replies: str) -> bytes:
        """Return encoded properties."""
        chance = self.random
        made = {
            "content_type": pack_shortstr(self.content_type()),
            "content_encoding": pack_shortstr(self.encoding()),
            "headers": self.table(),
            "delivery_mode": chance.choice((b"\x01", b"\x02")),
            "priority": bytes([chance.randrange(256)]),
            "correlation_id": self.short("c", "a:b", "x" * 255),
            "reply_to": self.short(replies, replies, "nowhere", "#", "amq.rabbitmq.reply-to.x"),
            "expiration": pack_shortstr(chance.choice(("60000", "4294967295", "600000"))),
            "message_id": self.short("id", "", "same id"),
            "timestamp": chance.choice((bytes(8), b"\xff" * 8, (1_700_000_000).to_bytes(8, "big"))),
            "type": self.short("type"),
            "app_id": self.short("app"),
        }
        given = [name for name in made if chance.random() < 0.6]
        flags = sum(1 << {**BITS, **REST}[name] for name in given)
        return flags.to_bytes(2, "big") + b"".join(made[name] for name in given)

    def frames(self, channel: int, exchange: str, routing_key: str, replies: str) -> bytes:
        """Return the frames of one message."""
        properties = self.properties(replies)
        if len(properties) > FRAME - 20:
            properties = b"\x00\x00"
        return content_frames(channel, FRAME, publish_method(exchange, routing_key, False), properties, self.body())


async def write(channel: aiormq.abc.AbstractChannel, frames: bytes) -> None:
    """Write frames on an aiormq channel."""
    await channel.write_queue.put(ChannelFrame(frames, should_close=False, drain_future=None))  # type: ignore[attr-defined]
