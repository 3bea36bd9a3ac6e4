"""The HTTP port: it only answers GET and HEAD, with one request for each connection, and bounds on all of it."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from evbus_like.engine.errors import SettingError
from evbus_like.monitor import exposition, page, schema, stream
from evbus_like.monitor.address import Access, Address
from evbus_like.monitor.document import Readers, Status
from evbus_like.monitor.interface import Interface
from evbus_like.monitor.stream import Stream

log = logging.getLogger("evbus_like.http")

MOST = 200  # connections; more are answered with 503
WITHIN = 10.0  # seconds for a request and its answer
LINE = 4096  # bytes of the request line, and of a header
Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
OPEN = ("/", "/live", "/ready")  # paths that need no token; the page asks for it, and /ready names no reasons
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
FULL = "this port has too many connections; try again later\n"


class Connection(web.RequestHandler):
    """A connection that is closed when its time is over, whether the other side reads and writes or not."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; the time runs from here."""
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        self.deadline = asyncio.get_running_loop().call_later(WITHIN, transport.abort)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self.deadline.cancel()
        super().connection_lost(exc)

    def log_exception(self, *args: Any, **_: Any) -> None:
        """Log a request that is no HTTP: at debug and in one line, for everybody who reaches the port can send it."""
        log.debug(*args)


class Full(asyncio.Protocol):
    """A connection above the limit: it is answered with 503 and closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer, whatever was asked."""
        assert isinstance(transport, asyncio.Transport)
        head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Length: {len(FULL)}\r\nConnection: close\r\n\r\n"
        transport.write((head + FULL).encode())
        transport.close()


class Connections(web.Server):
    """Makes the protocol of each new connection, and counts those that are refused."""

    refused = 0

    def __call__(self) -> Any:
        """Return one for a new connection."""
        if len(self.connections) >= MOST:
            self.refused += 1
            return Full()
        return Connection(self, loop=self._loop, **self._kwargs)


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
        self._connections: Connections | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen, and return the URL; raises SettingError if the port cannot be had."""
        limits: dict[str, Any] = {
            "max_line_size": LINE,
            "max_field_size": LINE,
            "lingering_time": 0,
            "keepalive_timeout": WITHIN,
        }
        self._connections = Connections(self._answer, access_log=None, logger=log, **limits)
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
        if server is not None and self._connections is not None:
            server.close()
            await self._stream.close()
            await self._connections.shutdown(1.0)

    async def _seen(self) -> Status:
        """Return the document, with what is known here of those who read it."""
        stream, refused = self._stream, self._connections.refused if self._connections is not None else 0
        readers: Readers = {"following": stream.following, "dropped": stream.dropped, "refused": refused}
        return {**await self._status(), "readers": readers}

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        try:
            response = await self._answered(request)
        except Exception:
            log.exception("the HTTP port could not answer %s", request.path[:100])
            response = _text(500, "this could not be answered; the log of the process says why\n")
        if not response.prepared:
            response.headers.update(HEADERS)
            response.force_close()
        return response

    async def _answered(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            refused = _text(405, "this port is read-only: GET and HEAD alone\n")
            refused.headers["Allow"] = "GET, HEAD"
            return refused
        if not self._access.knows(request.host):
            return _text(403, "this port is for this machine: ask it by localhost, or by its IP address\n")
        handle = self._paths.get(request.path)
        if handle is None:
            return _text(404, f"there is no such page; there are {', '.join(self._paths)}\n")
        if request.path not in OPEN and not self._allows(request):
            wrong = "the token is wrong" if "Authorization" in request.headers else "a token is needed"
            refused = _text(401, f"{wrong}: send the header Authorization: Bearer TOKEN, as EVBUS_HTTP_TOKEN has it\n")
            refused.headers["WWW-Authenticate"] = 'Bearer realm="evbus_like"'
            return refused
        return await handle(request)

    def _allows(self, request: web.BaseRequest) -> bool:
        return self._access.allows(request.headers.get("Authorization", ""))

    # ---- pages

    async def _page(self, request: web.BaseRequest) -> web.Response:
        return web.Response(text=self._html, content_type="text/html", headers=self._html_headers)

    async def _live(self, request: web.BaseRequest) -> web.Response:
        """The event loop runs, else nobody would answer."""
        return _text(200, "alive\n")

    async def _ready(self, request: web.BaseRequest) -> web.Response:
        status = await self._status()
        code, reasons = 200 if status["ready"] else 503, status["reasons"]
        if not self._allows(request):
            return _text(code, "ready\n" if status["ready"] else "not ready; with the token it says why\n")
        if "application/json" in request.headers.get("Accept", ""):
            return _json({"ready": status["ready"], "reasons": reasons}, code)
        return _text(code, "ready\n" if status["ready"] else "".join(["not ready:\n", *[f"- {r}\n" for r in reasons]]))

    async def _metrics(self, request: web.BaseRequest) -> web.Response:
        status, accept = await self._seen(), request.headers.get("Accept", "")
        # In a thread: a millisecond for each destination would be one in which the loop does nothing else.
        body, content_type = await asyncio.to_thread(exposition.exposed, status, accept)
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _document(self, request: web.BaseRequest) -> web.Response:
        return _json(await self._seen())

    async def _events(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._stream.following >= stream.MOST:
            return _text(503, f"{stream.MOST} clients follow already; try again later\n")
        connection: Any = request.protocol
        connection.deadline.cancel()  # from here on, each write has one
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **HEADERS})
        response.force_close()
        try:
            await response.prepare(request)
            if request.method == "HEAD":
                return response
            await self._stream.follow(response.write)
        except TimeoutError:
            if connection.transport is not None:
                connection.transport.abort()  # else its buffer would be waited for
        except ConnectionError:
            pass  # the client has gone
        return response

    async def _application(self, request: web.BaseRequest) -> web.Response:
        return _json(await asyncio.to_thread(self._interface))  # a large one takes the time of many events

    async def _schema(self, request: web.BaseRequest) -> web.Response:
        return _json(schema.schema())


def _text(code: int, text: str) -> web.Response:
    return web.Response(status=code, text=text)


def _json(data: Any, code: int = 200) -> web.Response:
    return web.Response(status=code, text=json.dumps(data) + "\n", content_type="application/json")


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
