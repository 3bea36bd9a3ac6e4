"""Ask a running process for its status document, over its Unix socket or its HTTP port."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import cast

from evbus_like.engine.errors import LifecycleError
from evbus_like.monitor import folder
from evbus_like.monitor.address import Address, check_token
from evbus_like.monitor.document import FORMAT, Status

MOST = 64 * 1024 * 1024  # bytes of an answer
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class NoAnswer(LifecycleError):
    """A process could not be asked: none listens there, it refuses, or its answer is no status document."""


async def by_socket(path: Path, timeout: float) -> Status:
    """Ask over a socket; raises NoAnswer."""
    caller = socket.socket(socket.AF_UNIX)
    caller.setblocking(False)
    try:
        async with asyncio.timeout(timeout):
            with folder.address(path) as where:
                await asyncio.get_running_loop().sock_connect(caller, where)
            reader, writer = await asyncio.open_unix_connection(sock=caller, limit=MOST)
            try:
                answer = await reader.readline()
            finally:
                writer.transport.abort()
    except (OSError, ValueError, TimeoutError) as error:
        raise NoAnswer(f"{path} gives no answer: {_said(error, timeout)}") from None
    finally:
        caller.close()
    return _document(answer, str(path))


async def by_port(address: Address, token: str | None, timeout: float) -> Status:
    """Ask over an HTTP port, all within `timeout` seconds; raises NoAnswer, and SettingError for a wrong token."""
    check_token(token)
    connection = http.client.HTTPConnection(EVERYWHERE.get(address.host, address.host), address.port, timeout=timeout)
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Status] = loop.create_future()
    used: list[socket.socket] = []

    def read() -> None:
        try:
            call, value = answer.set_result, _read(connection, used, address, token, timeout)
        except BaseException as error:
            call, value = answer.set_exception, error  # type: ignore[assignment]
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(lambda: None if answer.done() else call(value))

    # Not one of the loop's threads, for whose end a program waits: a look-up of a name cannot be interrupted.
    threading.Thread(target=read, name="evbus_like status", daemon=True).start()
    try:
        async with asyncio.timeout(timeout):
            return await answer
    except TimeoutError as error:
        raise NoAnswer(f"the HTTP port {address} gives no answer: {_said(error, timeout)}") from None
    finally:
        for each in used:  # a read that goes on, byte by byte, ends
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _read(
    connection: http.client.HTTPConnection,
    used: list[socket.socket],
    address: Address,
    token: str | None,
    timeout: float,
) -> Status:
    try:
        connection.connect()
        used.append(connection.sock)
        connection.request("GET", "/status", headers={"Authorization": f"Bearer {token}"} if token else {})
        with connection.getresponse() as response:
            answer = response.read(MOST)
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(f"the HTTP port {address} gives no answer: {_said(error, timeout)}") from None
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        said = answer.decode("utf-8", "replace").strip()[:300] if response.status != 404 else "it has no /status"
        raise NoAnswer(f"the HTTP port {address} refuses: {response.status} {said}")
    return _document(answer, f"the HTTP port {address}")


def _said(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"none within {timeout:g} s; is its event loop stuck, or the process stopped?"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    return str(error) or type(error).__name__


def _document(answer: bytes, who: str) -> Status:
    try:
        found = json.loads(answer)
        if found["format"] == FORMAT:
            return cast("Status", found)
        problem = f"format {found['format']}, which this version of evbus does not know"
    except (ValueError, KeyError, TypeError):
        problem = f"{answer[:60]!r}" if answer else "an empty answer; it has too many readers, or is stopping"
    raise NoAnswer(f"{who} gives no status document: {problem}")
