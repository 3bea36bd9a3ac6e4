"""The HTTP port: its pages, which only GET and HEAD can ask for."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from evbus_like.engine.errors import SettingError
from evbus_like.monitor import page, schema, stream
from evbus_like.monitor.address import Access, Address
from evbus_like.monitor.connection import Answer, Connections, Request
from evbus_like.monitor.document import Readers, Status
from evbus_like.monitor.interface import Interface
from evbus_like.monitor.stream import Stream

log = logging.getLogger("evbus_like.http")

Handle = Callable[[Request], Awaitable[Answer]]
OPEN = ("/", "/live", "/ready")  # paths that need no token; the page asks for it, and /ready names no reasons


class Port:
    """A port that is open from `start` to `close`; `status` and `interface` are called when somebody asks."""

    def __init__(
        self, access: Access, status: Callable[[], Awaitable[Status]], interface: Callable[[], Interface]
    ) -> None:
        self._access = access
        self._status = status
        self._interface = interface
        self._html, self._html_headers = page.page(access.token is not None)
        self._paths: Mapping[str, Handle] = {
            "/": self._page,
            "/live": self._live,
            "/ready": self._ready,
            "/metrics": self._metrics,
            "/status": self._document,
            "/status/schema": self._schema,
            "/events": self._events,
            "/interface": self._application,
        }
        self._stream = Stream(self._seen)
        self._connections = Connections(self._answer)
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen, and return the URL; raises SettingError if the port cannot be had."""
        address = self._access.address
        try:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(self._connections, address.host, address.port)
        except OSError as error:
            raise SettingError(_problem(address, error)) from None
        port = self._server.sockets[0].getsockname()[1]
        return f"http://{Address(address.host, port)}"

    async def close(self) -> None:
        """Close the port and all connections."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await self._stream.close()
            await self._connections.close(1.0)

    async def _seen(self) -> Status:
        """Return the document, with what is known here of those who read it."""
        stream = self._stream
        readers: Readers = {
            "following": stream.following,
            "dropped": stream.dropped,
            "refused": self._connections.refused,
        }
        return {**await self._status(), "readers": readers}

    async def _answer(self, request: Request) -> Answer:
        """Answer one request."""
        try:
            return await self._answered(request)
        except Exception:
            log.exception("the HTTP port could not answer %s", request.path[:100])
            return _text(500, "this could not be answered; the log of the process says why\n")

    async def _answered(self, request: Request) -> Answer:
        if request.method not in ("GET", "HEAD"):
            return _text(405, "this port is read-only: GET and HEAD alone\n", Allow="GET, HEAD")
        if not self._access.knows(request.host):
            return _text(403, "this port is for this machine: ask it by localhost, or by its IP address\n")
        handle = self._paths.get(request.path)
        if handle is None:
            return _text(404, f"there is no such page; there are {', '.join(self._paths)}\n")
        if request.path not in OPEN and not self._allows(request):
            wrong = "the token is wrong" if "authorization" in request.headers else "a token is needed"
            said = f"{wrong}: send the header Authorization: Bearer TOKEN, as EVBUS_HTTP_TOKEN has it\n"
            return _text(401, said, **{"WWW-Authenticate": 'Bearer realm="evbus_like"'})
        return await handle(request)

    def _allows(self, request: Request) -> bool:
        return self._access.allows(request.headers.get("authorization", ""))

    # ---- pages

    async def _page(self, request: Request) -> Answer:
        return Answer(200, self._html.encode(), "text/html; charset=utf-8", self._html_headers)

    async def _live(self, request: Request) -> Answer:
        """The event loop runs, else nobody would answer."""
        return _text(200, "alive\n")

    async def _ready(self, request: Request) -> Answer:
        status = await self._status()
        code, reasons = 200 if status["ready"] else 503, status["reasons"]
        if not self._allows(request):
            return _text(code, "ready\n" if status["ready"] else "not ready; with the token it says why\n")
        if "application/json" in request.headers.get("accept", ""):
            return _json({"ready": status["ready"], "reasons": reasons}, code)
        return _text(code, "ready\n" if status["ready"] else "".join(["not ready:\n", *[f"- {r}\n" for r in reasons]]))

    async def _metrics(self, request: Request) -> Answer:
        status, accept = await self._seen(), request.headers.get("accept", "")

        def exposed() -> tuple[bytes, str]:
            from evbus_like.monitor import exposition  # prometheus-client is imported once somebody scrapes

            return exposition.exposed(status, accept)

        # In a thread: a millisecond for each destination would be one in which the loop does nothing else.
        return Answer(200, *await asyncio.to_thread(exposed))

    async def _document(self, request: Request) -> Answer:
        return _json(await self._seen())

    async def _events(self, request: Request) -> Answer:
        if self._stream.following >= stream.MOST:
            return _text(503, f"{stream.MOST} clients follow already; try again later\n")
        return Answer(200, content_type="text/event-stream", stream=self._stream.follow)

    async def _application(self, request: Request) -> Answer:
        return _json(await asyncio.to_thread(self._interface))  # a large one takes the time of many events

    async def _schema(self, request: Request) -> Answer:
        return _json(schema.schema())


def _text(code: int, text: str, **headers: str) -> Answer:
    return Answer(code, text.encode(), headers=headers)


def _json(data: Any, code: int = 200) -> Answer:
    return Answer(code, json.dumps(data).encode() + b"\n", "application/json; charset=utf-8")


def _problem(address: Address, error: OSError) -> str:
    """Say why a port cannot be had, and what to do."""
    if isinstance(error, socket.gaierror):
        return f"the HTTP port {address} cannot be opened: there is no host {address.host!r}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"the HTTP port {address} is in use: another process listens there, perhaps another `evbus run`;"
            " stop it, or choose another port"
        )
    if error.errno == errno.EACCES:
        return f"the HTTP port {address} cannot be opened: this user may not open ports below 1024; choose a higher one"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"the HTTP port {address} cannot be opened: this machine has no address {address.host}"
    return f"the HTTP port {address} cannot be opened: {error.strerror or error}"
