"""A TCP proxy on 127.0.0.1 that stands between a client and a broker and spoils their connections on demand."""

import array
import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.brokers.ports import free_port

HOST = "127.0.0.1"
CHUNK = 64 * 1024
UP, DOWN = "up", "down"  # towards the broker, towards the client
BOTH = (UP, DOWN)


class Proxy:
    """Leads connections to `port` of this proxy on to `target`, a port on 127.0.0.1; `listen` fixes its own.

    It has a thread with an event loop of its own, so it goes on while the loop of the test is blocked. The verbs may be
    called from any thread and have happened when they return. Use it in a `with`.

    `tried` counts the connections that clients made, those that were hung up on too; `carried` counts bytes.
    """

    def __init__(self, target: int, listen: int | None = None) -> None:
        self.target = target
        self.port = listen or free_port()
        self.tried = 0
        self.carried = dict.fromkeys(BOTH, 0)
        self.was_cut = threading.Event()  # set when `cut_after` has cut
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy {self.port}", daemon=True)
        self._links: set[_Link] = set()
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
        """How many connections there are now."""
        return len(self._links)

    # ---- the verbs

    def heal(self) -> None:
        """Let everything pass again; connections that lost bytes are reset, as theirs would never fit again."""
        self._do(self._heal)

    def reset(self) -> None:
        """Break every connection with a TCP reset, on both sides; new ones may come."""
        self._do(self._reset)

    def refuse(self) -> None:
        """Reset every connection and let nobody connect: the port is closed."""
        self._do(self._refuse)

    def hang_up(self) -> None:
        """Reset every connection, and every new one once it is accepted; `tried` counts them."""
        self._do(self._change, then_reset=True, hang_up=True)

    def black_hole(self) -> None:
        """Swallow every byte and answer nothing; new connections are accepted, and swallowed too."""
        self._do(self._change, swallow=True)

    def freeze(self, *directions: str) -> None:
        """Hold every byte back, in both directions or in those named (half-open); `heal` lets them go on."""
        self._do(self._change, frozen=frozenset(directions or BOTH))

    def delay(self, seconds: float, *directions: str) -> None:
        """Hold each chunk back for so long, one after another."""
        self._do(self._change, slow=dict.fromkeys(directions or BOTH, seconds))

    def cut_after(self, count: int, direction: str = UP, hang_up: bool = False) -> None:
        """Let `count` more bytes pass in one direction, and reset their connection there, in mid frame or not.

        With `hang_up` nobody gets a connection afterwards, until `heal`.
        """
        self.was_cut.clear()
        self._do(self._change, cut={direction: count}, hang_up_after_cut=hang_up)

    # ---- in the proxy's own loop

    def _do(self, verb: Callable[..., Coroutine[Any, Any, None]], **options: Any) -> None:
        asyncio.run_coroutine_threadsafe(verb(**options), self._loop).result(30.0)

    async def _change(self, then_reset: bool = False, **rules: Any) -> None:
        self._rules.replace(_Rules(**rules))
        if then_reset:
            await self._reset()

    async def _heal(self) -> None:
        await self._change()
        for link in [link for link in self._links if link.lossy]:
            link.reset()
        if self._listener is None:
            await self._listen()

    async def _reset(self) -> None:
        for link in list(self._links):
            link.reset()

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
        tasks = [link.task for link in self._links]
        await self._reset()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            self.tried += 1
            if self._rules.hang_up:
                _reset(client)
                continue
            link = _Link(self, client)
            self._links.add(link)
            link.task = self._loop.create_task(link.run())
            link.task.add_done_callback(partial(self._forget, link))

    def _forget(self, link: "_Link", _task: object) -> None:
        self._links.discard(link)


@dataclass
class _Rules:
    """What happens to connections now."""

    swallow: bool = False
    hang_up: bool = False
    frozen: frozenset[str] = frozenset()
    slow: dict[str, float] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    hang_up_after_cut: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def replace(self, new: "_Rules") -> None:
        """Become the new rules, and wake who waits under the old ones."""
        old = self.changed
        self.__dict__.update(new.__dict__)
        old.set()


class _Link:
    """One client's connection and the one to the broker that belongs to it."""

    task: "asyncio.Task[None]"

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self.proxy = proxy
        self.client = client
        self.broker = socket.socket()
        self.lossy = False  # whether a byte was swallowed

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in (self.client, self.broker):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await loop.sock_connect(self.broker, (HOST, self.proxy.target))
            await asyncio.gather(self._pipe(UP, self.client, self.broker), self._pipe(DOWN, self.broker, self.client))
        except OSError:  # a side reset its connection, or the broker is not there: so does the proxy on the other
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
            left = rules.cut.get(direction)
            if left is not None:
                data, rules.cut[direction] = data[:left], left - len(data)
            await loop.sock_sendall(sink, data)
            proxy.carried[direction] += len(data)
            if left is not None and rules.cut[direction] <= 0:
                await self._cut(rules, sink)
        # One side has said all; the other is told so, and may still answer.
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

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
    """Wait until the other side's kernel has all bytes: a reset throws away what is still on its way."""
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
