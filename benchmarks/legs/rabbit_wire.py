"""To RabbitMQ, the wire limit: a raw socket, frames that are ready before the clock starts, and the broker's confirms.

No client library runs while the clock does. The messages have the properties and the size of evbus_like's. At most
`window` messages are unconfirmed. AMQP 0-9-1: 2.3.5 for frames, 1.8.3 for basic.publish, RabbitMQ's confirms.
"""

from __future__ import annotations

import select
import socket
import struct
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import orjson
from measure import Clock, bodies, config
from pamqp import commands, frame, header
from pamqp.body import ContentBody
from pamqp.exceptions import UnmarshalingException
from pamqp.heartbeat import Heartbeat

WINDOW = 8000  # messages
PIECE = 500  # messages to a write
FRAME = 131072 - 8  # bytes of body in one frame
ACK = struct.Struct(">BHIHHQBB")  # a whole frame of basic.ack: it has always the same size
DISTINCT = 20_000  # messages that are made; a longer run sends them again
CLASS_BASIC, METHOD_ACK = 60, 80


def messages(asked: dict[str, Any], queue: str) -> list[bytes]:
    """Encode the messages, as many as are distinct."""
    prefix = uuid.uuid4().hex[:20]
    publish = frame.marshal(commands.Basic.Publish(exchange="", routing_key=queue, mandatory=True), 1)
    made = []
    for n, content in enumerate(bodies(asked, min(asked["events"], DISTINCT))):
        body = orjson.dumps(content)
        event_id = f"{prefix}-{n:x}"
        properties = commands.Basic.Properties(
            content_type="application/json",
            delivery_mode=2,
            message_id=event_id,
            timestamp=datetime.now(UTC),
        )
        parts = [publish, frame.marshal(header.ContentHeader(0, len(body), properties), 1)]
        parts += [frame.marshal(ContentBody(body[at : at + FRAME]), 1) for at in range(0, len(body), FRAME)]
        made.append(b"".join(parts))
    return made


class Wire:
    """One connection with one channel in confirm mode."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        self.socket = socket.create_connection((where.hostname, where.port or 5672))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self._all_to = 0  # every message up to this tag is confirmed
        self._singly: set[int] = set()  # and these beyond it: RabbitMQ confirms out of turn
        self.socket.sendall(b"AMQP\x00\x00\x09\x01")
        self._answer("Connection.Start")
        login = f"\x00{where.username or 'guest'}\x00{where.password or 'guest'}"
        self._send(commands.Connection.StartOk({}, "PLAIN", login, "en_US"), 0)
        self._answer("Connection.Tune")
        self._send(commands.Connection.TuneOk(2047, 131072, 0), 0)
        self._send(commands.Connection.Open("/"), 0)
        self._answer("Connection.OpenOk")
        self._send(commands.Channel.Open(), 1)
        self._answer("Channel.OpenOk")
        self._send(commands.Confirm.Select(), 1)
        self._answer("Confirm.SelectOk")
        self.socket.setblocking(False)

    @property
    def confirmed(self) -> int:
        """How many messages are confirmed."""
        return self._all_to + len(self._singly)

    def _send(self, command: Any, channel: int) -> None:
        self.socket.sendall(frame.marshal(command, channel))

    def _answer(self, name: str) -> None:
        """Read one frame, which must be the answer expected."""
        while True:
            try:
                used, _, answer = frame.unmarshal(self.received)
            except (UnmarshalingException, ValueError, struct.error):
                used, answer = 0, None
            if not used or answer is None:
                more = self.socket.recv(65536)
                if not more:
                    raise ConnectionError("the broker closed the connection") from None
                self.received += more
                continue
            self.received = self.received[used:]
            if isinstance(answer, Heartbeat):
                continue
            if answer.name != name:
                raise RuntimeError(f"the broker answered {answer.name} instead of {name}")
            return

    def publish(self, data: list[bytes], count: int, window: int) -> None:
        """Send `count` messages, piece by piece, and return when the broker has confirmed them all."""
        target = self.confirmed + count
        sent = self.confirmed
        index, out = 0, memoryview(b"")
        while self.confirmed < target:
            if not out and sent < target and sent - self.confirmed < window:
                piece = data[index : index + min(PIECE, target - sent)]
                index = (index + len(piece)) % len(data)
                sent += len(piece)
                out = memoryview(b"".join(piece))
            readable, writable, _ = select.select([self.socket], [self.socket] if out else [], [], 30)
            if not readable and not writable:
                raise TimeoutError(f"the broker said nothing for 30 s; {self.confirmed} of {target} are confirmed")
            if readable:
                self._collect(self.socket.recv(1 << 20))
            if writable:
                out = out[self.socket.send(out) :]

    def _collect(self, more: bytes) -> None:
        """Take acks in; one with `multiple` stands for all before it."""
        if not more:
            raise ConnectionError("the broker closed the connection")
        self.received += more
        whole = len(self.received) // ACK.size * ACK.size
        for kind, _, size, of_class, method, tag, multiple, end in ACK.iter_unpack(self.received[:whole]):
            if (kind, size, of_class, method, end) != (1, 13, CLASS_BASIC, METHOD_ACK, 0xCE):
                raise RuntimeError(f"the broker sent something else than an ack: class {of_class}, method {method}")
            if not multiple:
                self._singly.add(tag)
            elif tag > self._all_to:
                self._all_to = tag
                self._singly = {single for single in self._singly if single > tag}
            while self._all_to + 1 in self._singly:
                self._all_to += 1
                self._singly.remove(self._all_to)
        self.received = self.received[whole:]


def main() -> None:
    """Run the leg."""
    asked = config()
    made = messages(asked, asked["queues"][0])
    wire = Wire(asked["amqp_url"])
    wire.publish(made, 100, WINDOW)
    clock = Clock()
    wire.publish(made, asked["events"], asked.get("window", WINDOW))
    clock.stop(asked["events"], sent=asked["events"] + 100)


main()
