"""A TCP proxy on 127.0.0.1 between a client and a broker, which breaks their connections on demand."""

import array
import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.brokers.ports import free_port

HOST = "127.0.0.1"
CHUNK = 64 * 1024
UP, DOWN = "up", "down"  # towards the broker, towards the client
BOTH = (UP, DOWN)


class Proxy:
    """Forwards connections to its `port` to the port `target` on 127.0.0.1; `listen` chooses its own port.

    It runs in a thread with its own event loop, so it keeps working while the loop of the test is blocked. Its methods
    may be called from any thread and return when they have taken effect. Use it in a `with`.

    `attempts` counts the connections made by clients, rejected ones included; `bytes_passed` counts by direction.
    """

    def __init__(self, target: int, listen: int | None = None) -> None:
        self.target = target
        self.port = listen or free_port()
        self.attempts = 0
        self.bytes_passed = dict.fromkeys(BOTH, 0)
        self.was_cut = threading.Event()  # set when `cut_after` has cut
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy {self.port}", daemon=True)
        self._connections: set[_Connection] = set()
        self._rules = _Rules()
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    def __enter__(self) -> "Proxy":
        self._thread.start()
        self._do(self._listen)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._do(self._shut)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def open(self) -> int:
        """The number of open connections."""
        return len(self._connections)

    # ---- faults

    def heal(self) -> None:
        """Let everything pass again; connections that lost bytes are reset, since they cannot continue."""
        self._do(self._heal)

    def reset(self) -> None:
        """Break every connection with a TCP reset on both sides; new ones are accepted."""
        self._do(self._reset)

    def refuse(self) -> None:
        """Reset every connection and close the port."""
        self._do(self._refuse)

    def hang_up(self) -> None:
        """Reset every connection, and every new one once it is accepted; `attempts` counts them."""
        self._do(self._change, then_reset=True, hang_up=True)

    def black_hole(self) -> None:
        """Swallow every byte and answer nothing; new connections are accepted, and swallowed too."""
        self._do(self._change, swallow=True)

    def freeze(self, *directions: str) -> None:
        """Hold every byte back, in both directions or in those named (half-open); `heal` sends them on."""
        self._do(self._change, frozen=frozenset(directions or BOTH))

    def delay(self, seconds: float, *directions: str) -> None:
        """Delay each chunk by so many seconds, one after another."""
        self._do(self._change, slow=dict.fromkeys(directions or BOTH, seconds))

    def cut_after(self, count: int, direction: str = UP, hang_up: bool = False) -> None:
        """Let `count` more bytes pass in one direction, and then reset the connection, even within a frame.

        With `hang_up` every new connection is reset afterwards, until `heal`.
        """
        self.was_cut.clear()
        self._do(self._change, cut={direction: count}, hang_up_after_cut=hang_up)

    def reject(self, farewells: Mapping[bytes, bytes]) -> None:
        """End every connection on which one of these bytes go towards the broker, which gets those before them.

        The client gets the farewell of those, such as a frame that closes the connection, or nothing but the end.
        Other connections are not affected.
        """
        self._do(self._change, farewells=dict(farewells))

    # ---- in the proxy's own loop

    def _do(self, verb: Callable[..., Coroutine[Any, Any, None]], **options: Any) -> None:
        asyncio.run_coroutine_threadsafe(verb(**options), self._loop).result(30.0)

    async def _change(self, then_reset: bool = False, **rules: Any) -> None:
        self._rules.replace(_Rules(**rules))
        if then_reset:
            await self._reset()

    async def _heal(self) -> None:
        await self._change()
        for connection in [connection for connection in self._connections if connection.lossy]:
            connection.reset()
        if self._listener is None:
            await self._listen()

    async def _reset(self) -> None:
        for connection in list(self._connections):
            connection.reset()

    async def _refuse(self) -> None:
        await self._stop_listening()
        await self._reset()

    async def _listen(self) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.setblocking(False)
        self._listener.bind((HOST, self.port))
        self._listener.listen(64)
        self._accepting = self._loop.create_task(self._accept(self._listener))

    async def _stop_listening(self) -> None:
        if self._accepting is not None and self._listener is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._listener.close()
        self._accepting = self._listener = None

    async def _shut(self) -> None:
        await self._stop_listening()
        tasks = [connection.task for connection in self._connections]
        await self._reset()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            self.attempts += 1
            if self._rules.hang_up:
                _reset(client)
                continue
            connection = _Connection(self, client)
            self._connections.add(connection)
            connection.task = self._loop.create_task(connection.run())
            connection.task.add_done_callback(partial(self._forget, connection))

    def _forget(self, connection: "_Connection", _task: object) -> None:
        self._connections.discard(connection)


@dataclass
class _Rules:
    """The fault that applies to all connections."""

    swallow: bool = False
    hang_up: bool = False
    frozen: frozenset[str] = frozenset()
    slow: dict[str, float] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    hang_up_after_cut: bool = False
    farewells: dict[bytes, bytes] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def replace(self, new: "_Rules") -> None:
        """Take over the new rules, and wake the connections that wait under the old ones."""
        old = self.changed
        self.__dict__.update(new.__dict__)
        old.set()


class _Connection:
    """The connection of one client, and its counterpart to the broker."""

    task: "asyncio.Task[None]"

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self.proxy = proxy
        self.client = client
        self.broker = socket.socket()
        self.lossy = False  # whether a byte was swallowed
        self._tail = b""  # the last bytes towards the broker, which may be the beginning of the marker

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in (self.client, self.broker):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await loop.sock_connect(self.broker, (HOST, self.proxy.target))
            await asyncio.gather(self._pipe(UP, self.client, self.broker), self._pipe(DOWN, self.broker, self.client))
        except OSError:  # one side was reset, or the broker is not there: the proxy resets the other side
            pass
        finally:
            self._close()

    def reset(self) -> None:
        """Break both sides at once."""
        self._close()
        self.task.cancel()

    def _close(self) -> None:
        _reset(self.client)
        _reset(self.broker)

    async def _pipe(self, direction: str, source: socket.socket, sink: socket.socket) -> None:
        loop, proxy, rules = asyncio.get_running_loop(), self.proxy, self.proxy._rules
        while data := await loop.sock_recv(source, CHUNK):
            await self._hold_back(rules, direction)
            if rules.swallow:
                self.lossy = True
                continue
            if rules.farewells and direction == UP:
                await self._look_for_markers(data, rules.farewells)
            left = rules.cut.get(direction)
            if left is not None:
                data, rules.cut[direction] = data[:left], left - len(data)
            await loop.sock_sendall(sink, data)
            proxy.bytes_passed[direction] += len(data)
            if left is not None and rules.cut[direction] <= 0:
                await self._cut(rules, sink)
        # One side has sent everything; the other sees the end and may still answer.
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    async def _look_for_markers(self, data: bytes, farewells: Mapping[bytes, bytes]) -> None:
        seen = self._tail + data
        found = sorted((at, marker) for marker in farewells if (at := seen.find(marker)) >= 0)
        if found:
            at, marker = found[0]
            await self._say_farewell(data[: max(0, at - len(self._tail))], farewells[marker])
        self._tail = seen[1 - max(map(len, farewells)) :]

    async def _say_farewell(self, before: bytes, farewell: bytes) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self.broker, before)
        await _sent(self.broker)
        if farewell:
            await loop.sock_sendall(self.client, farewell)
            await _sent(self.client)
        raise ConnectionResetError("rejected")

    async def _cut(self, rules: _Rules, sink: socket.socket) -> None:
        await _sent(sink)
        rules.replace(_Rules(hang_up=rules.hang_up_after_cut))
        self.proxy.was_cut.set()
        raise ConnectionResetError("cut")

    async def _hold_back(self, rules: _Rules, direction: str) -> None:
        while direction in rules.frozen:
            await rules.changed.wait()
        if direction in rules.slow:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rules.slow[direction]):
                    await rules.changed.wait()


async def _sent(sock: socket.socket) -> None:
    """Wait until the other side's kernel has all bytes: a reset discards what is still on its way."""
    waiting = array.array("i", [1])
    while waiting[0]:
        fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, waiting)
        await asyncio.sleep(0.001)


def _reset(sock: socket.socket) -> None:
    """Close a socket with a TCP reset."""
    if sock.fileno() >= 0:
        asyncio.get_running_loop().remove_reader(sock)
        asyncio.get_running_loop().remove_writer(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
