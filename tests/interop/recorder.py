"""A proxy between a client and RabbitMQ that records what the client declares, consumes and publishes."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pamqp import commands, decode

GREETING = 8  # bytes: "AMQP" and the version
NOTED = (
    commands.Exchange.Declare,
    commands.Queue.Declare,
    commands.Queue.Bind,
    commands.Basic.Qos,
    commands.Basic.Consume,
    commands.Basic.Publish,
    commands.Confirm.Select,
)
METHODS = {noted.index: noted for noted in NOTED}
UNIMPORTANT = ("ticket", "nowait", "consumer_tag", "immediate")


def methods(data: bytes) -> list[dict[str, Any]]:
    """Decode what a client sent on one connection; a message is part of its publish."""
    found: list[dict[str, Any]] = []
    content: dict[int, dict[str, Any]] = {}
    at = GREETING
    while at + 7 < len(data):
        kind, channel, size = struct.unpack_from(">BHI", data, at)
        payload, at = data[at + 7 : at + 7 + size], at + 8 + size
        if kind == 1:
            method = METHODS.get(struct.unpack_from(">I", payload)[0])
            if method is not None:
                frame = method()
                frame.unmarshal(payload[4:])
                found.append({"method": frame.name, **_plain(frame)})
                content[channel] = found[-1]
        elif kind == 2 and channel in content:
            content[channel]["properties"] = base64.b64encode(payload[12:]).decode()
        elif kind == 3 and channel in content:
            content[channel]["body"] = content[channel].get("body", "") + payload.decode()
    return found


def _plain(frame: Any) -> dict[str, Any]:
    return {name: value for name, value in frame if name not in UNIMPORTANT}


def properties(encoded: str) -> dict[str, Any]:
    """Decode recorded properties."""
    raw = base64.b64decode(encoded)
    made = commands.Basic.Properties()
    made.unmarshal(decode.short_uint(raw)[1], raw[2:])
    return {name: value for name, value in made if value is not None}


class Recorder:
    """The recorded bytes of each connection."""

    def __init__(self) -> None:
        self.port = 0
        self.streams: list[bytearray] = []

    def methods(self) -> list[dict[str, Any]]:
        """Give all recorded methods."""
        return [method for stream in self.streams for method in methods(bytes(stream))]


@asynccontextmanager
async def recording(target: int) -> AsyncIterator[Recorder]:
    """Listen on 127.0.0.1, forward connections to a port there, and record what clients send."""
    recorder = Recorder()
    tasks: set[asyncio.Task[Any]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        stream = bytearray()
        recorder.streams.append(stream)
        onwards, back = await asyncio.open_connection("127.0.0.1", target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pipe(reader, back, stream))
                group.create_task(_pipe(onwards, writer, None))
        except* OSError:
            pass
        finally:
            back.close()
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    recorder.port = server.sockets[0].getsockname()[1]
    try:
        yield recorder
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter, noted: bytearray | None) -> None:
    while data := await source.read(65536):
        if noted is not None:
            noted += data
        sink.write(data)
        await sink.drain()
    sink.close()
