"""HTTP/1.1 for the port: one request for each connection, and bounds on its size, its time, and the connections."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

import h11

log = logging.getLogger("evbus_like.http")

MOST = 200  # connections; more are answered with 503
WITHIN = 10.0  # seconds for a request and its answer
HEAD = 8192  # bytes of a request
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Connection": "close"}
FULL = "this port has too many connections; try again later\n"
BAD = "this is no HTTP request, or one of more than 8 KiB\n"
TEXT = "text/plain; charset=utf-8"
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
Write = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True)
class Request:
    """A request; the names of its headers are in lower case, and its body is not read."""

    method: str
    path: str
    headers: Mapping[str, str]

    @property
    def host(self) -> str:
        """The address that it was sent to, as the client wrote it."""
        return self.headers.get("host", "")


@dataclass(frozen=True)
class Answer:
    """An answer: its `body`, or a `stream` that writes one for as long as it wants."""

    code: int
    body: bytes = b""
    content_type: str = TEXT
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: Callable[[Write], Awaitable[None]] | None = None


class Connection(asyncio.Protocol):
    """Answers one request and is closed: when its time is over, whether the other side reads and writes or not."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD)
        self._size = 0
        self._room = asyncio.Event()  # in the buffer of what is not sent yet
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; the time runs from here."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._room.set()
        self._deadline = asyncio.get_running_loop().call_later(WITHIN, transport.abort)
        self._connections.open.add(self)

    def data_received(self, data: bytes) -> None:
        """Read the request; what follows it is ignored."""
        if self.task is not None or self.transport.is_closing():
            return
        self._size += len(data)
        try:
            if self._size > HEAD:
                raise h11.RemoteProtocolError("too long")
            self._http.receive_data(data)
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                request = _request(event)
                self.task = asyncio.create_task(self._run(request), name="evbus_like http")
        except (h11.RemoteProtocolError, ValueError) as error:
            log.debug("a request that cannot be read: %s", error)  # everybody who reaches the port can send it
            self._send_head(Answer(400, BAD.encode()))
            self._send(h11.Data(BAD.encode()))
            self._end()

    async def _run(self, request: Request) -> None:
        try:
            await self._answer(request)
        except Exception:
            log.exception("an answer to %s has failed", request.path[:100])
            self.transport.abort()

    async def _answer(self, request: Request) -> None:
        answer = await self._connections.answer(request)
        self._send_head(answer)
        if request.method != "HEAD":
            if answer.stream is None:
                self._send(h11.Data(answer.body))
            elif not await self._streamed(answer.stream):
                return
        self._end()

    async def _streamed(self, stream: Callable[[Write], Awaitable[None]]) -> bool:
        """Let a stream write; return False if its reader is gone, or too slow."""
        self._deadline.cancel()  # from here on, each write has one
        try:
            await stream(self._write)
        except TimeoutError:
            self.transport.abort()  # else its buffer would be waited for
            return False
        except ConnectionError:
            return False
        return True

    async def _write(self, data: bytes) -> None:
        if self.transport.is_closing():
            raise ConnectionResetError("the client has gone")
        self._send(h11.Data(data))
        await self._room.wait()

    def _send_head(self, answer: Answer) -> None:
        headers = {"Date": _date(), "Content-Type": answer.content_type, **HEADERS, **answer.headers}
        if answer.stream is None:
            headers["Content-Length"] = str(len(answer.body))
        reason = HTTPStatus(answer.code).phrase
        self._send(h11.Response(status_code=answer.code, reason=reason, headers=list(headers.items())))

    def _send(self, event: h11.Event) -> None:
        self.transport.write(self._http.send(event) or b"")

    def _end(self) -> None:
        self._send(h11.EndOfMessage())
        self.transport.close()

    def pause_writing(self) -> None:
        """Let a stream wait until the client has read."""
        self._room.clear()

    def resume_writing(self) -> None:
        """Let a stream go on."""
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._deadline.cancel()
        self._connections.open.discard(self)
        if self.task is not None:
            self.task.cancel()


class Full(asyncio.Protocol):
    """A connection above the limit: it is answered with 503 and closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer, whatever was asked."""
        assert isinstance(transport, asyncio.Transport)
        head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Length: {len(FULL)}\r\nConnection: close\r\n\r\n"
        transport.write((head + FULL).encode())
        transport.close()


class Connections:
    """Makes the protocol of each new connection, and counts those that are refused; `answer` raises nothing."""

    def __init__(self, answer: Callable[[Request], Awaitable[Answer]]) -> None:
        self.answer = answer
        self.open: set[Connection] = set()
        self.refused = 0

    def __call__(self) -> asyncio.Protocol:
        """Return one for a new connection."""
        if len(self.open) >= MOST:
            self.refused += 1
            return Full()
        return Connection(self)

    async def close(self, timeout: float) -> None:
        """Close all; answers under way have `timeout` seconds."""
        tasks = [each.task for each in self.open if each.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)
        for each in list(self.open):
            each.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _request(event: h11.Request) -> Request:
    """Return a request that h11 has read; raises ValueError for a target that is no URL."""
    headers = {name.decode("ascii"): value.decode("utf-8", "surrogateescape") for name, value in event.headers}
    return Request(event.method.decode("ascii"), urlsplit(event.target.decode("ascii")).path, headers)


def _date() -> str:
    """Return the time as HTTP writes it, in English whatever the locale is."""
    now = time.gmtime()
    return f"{DAYS[now.tm_wday]}, {now.tm_mday:02} {MONTHS[now.tm_mon - 1]} {time.strftime('%Y %H:%M:%S', now)} GMT"
