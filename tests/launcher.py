"""Starts `evbus` and programs of the tests by forking a process that has imported what they need.

Their imports take longer than what most of the suite's processes do. What forks is this file, run as a script: it gets
an order for each process, with its three streams and a socket, on which it tells the process's number and later its
exit code. A test about the start itself (imports, terminals, limits) starts a real process.
"""

from __future__ import annotations

import array
import asyncio
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
EVBUS = "evbus"  # a program: this, or a module of the tests
LONGEST = 1 << 18  # bytes of an order
LOADED = (
    "pop.hub",
    "evbus_like.cli.application",
    "evbus_like.cli.main",
    "tests.integration.sources",
    "aio_pika",
    "aiokafka",
)
LAZY = (
    "colorama",
    "cryptography.fernet",
    "yaml",
    "toml",
    "rich.table",
    "jinja2.ext",
)  # what pop and the command import late

_launcher: subprocess.Popen[bytes] | None = None
_orders: socket.socket


class Process:
    """A process that was started, with the methods of asyncio's; its streams are None where the caller gave some."""

    def __init__(self, answers: socket.socket) -> None:
        self._answers = answers.makefile("r")
        answers.close()
        self.pid = int(self._answers.readline())
        self.returncode: int | None = None
        self.stdin: Any = None
        self.stdout: Any = None
        self.stderr: Any = None
        self.pipes: list[asyncio.ReadTransport] = []

    def finish(self, seconds: float | None = None) -> int:
        """Wait until it ends and give its exit code; after so many seconds it is killed, and TimeoutExpired raised."""
        if self.returncode is None:
            if not select.select([self._answers], [], [], seconds)[0]:
                self.kill()
                self.finish()
                raise subprocess.TimeoutExpired(str(self.pid), seconds or 0)
            self.returncode = int(self._answers.readline())
            self._answers.close()
        return self.returncode

    async def wait(self) -> int:
        """Wait until it ends, close its pipes, and give its exit code."""
        code = await asyncio.to_thread(self.finish)
        for pipe in self.pipes:
            pipe.close()
        await asyncio.sleep(0)  # a transport closes in the next turn of the loop
        return code

    async def communicate(self) -> tuple[bytes, bytes]:
        """Read its output and its errors to their ends, and wait until it ends."""
        read = [stream.read() if stream else asyncio.sleep(0, b"") for stream in (self.stdout, self.stderr)]
        out, err = await asyncio.gather(*read)
        await self.wait()
        return out, err

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):  # it has ended, and nobody has waited for it yet
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def start(
    program: str,
    arguments: Sequence[str],
    streams: Sequence[int],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
) -> Process:
    """Start a program with descriptors for its input, output and errors."""
    ours, theirs = socket.socketpair()
    order = {
        "program": program,
        "arguments": list(arguments),
        "env": dict(env or os.environ),
        "cwd": str(cwd or Path.cwd()),
    }
    with theirs:
        descriptors = array.array("i", [*streams, theirs.fileno()])
        _running().sendmsg([json.dumps(order).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
    return Process(ours)


def run(
    program: str,
    arguments: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        process = start(program, arguments, [file.fileno() for file in (given, out, err)], env=env, cwd=cwd)
        code = process.finish(timeout)
        return subprocess.CompletedProcess([program, *arguments], code, _all(out), _all(err))


async def start_reading(program: str, arguments: Sequence[str], **options: Any) -> Process:
    """Start a program without input, whose `stdout` and `stderr` are asyncio's streams."""
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    with open(os.devnull, "rb") as nothing, open(out_end, "wb") as its_out, open(err_end, "wb") as its_err:  # noqa: ASYNC230
        process = start(program, arguments, [file.fileno() for file in (nothing, its_out, its_err)], **options)
    process.stdout, process.stderr = await _stream(out, process), await _stream(err, process)
    return process


async def _stream(descriptor: int, process: Process) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0))
    process.pipes.append(pipe)
    return reader


def _all(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _running() -> socket.socket:
    """Give the socket for orders; the first call starts what forks."""
    global _launcher, _orders
    if _launcher is None or _launcher.poll() is not None:
        _orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        _orders.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * LONGEST)
        with theirs:
            _launcher = subprocess.Popen([sys.executable, __file__], stdin=theirs.fileno(), stdout=subprocess.DEVNULL)
    return _orders


# ---- what forks


def _fork_for_orders() -> None:
    """Fork once for each order, until the tests have ended; returns in the new processes, ready to be the program."""
    orders = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        order, descriptors, _, _ = socket.recv_fds(orders, LONGEST, 4)
        if not order:
            _end()
        if not os.fork():
            orders.close()
            _keep(json.loads(order), descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)


def _keep(order: dict[str, Any], descriptors: list[int]) -> None:
    """Fork the process, tell its number and its exit code, and kill it when nobody listens; returns in the process."""
    *streams, answers = descriptors
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if not pid:
        os.close(answers)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _become(order)
        return
    for stream in (*streams, 0):
        os.close(stream)
    os.write(answers, b"%d\n" % pid)
    ended = os.pidfd_open(pid)
    if answers in select.select([ended, answers], [], [])[0]:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        os.write(answers, b"%d\n" % code)
    finally:
        _end()


def _end() -> NoReturn:
    """End this process at once: at os._exit, coverage would save what a process measured that only waited."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def _become(order: dict[str, Any]) -> None:
    """Give this process the environment, the folder, the path and the arguments of the program."""
    os.environ.clear()
    os.environ.update(order["env"])
    time.tzset()
    os.chdir(order["cwd"])
    first = str(BIN if order["program"] == EVBUS else ROOT)
    named = [folder for folder in order["env"].get("PYTHONPATH", "").split(os.pathsep) if folder]
    sys.path[:] = [first, *named, *sys.path[1:]]
    sys.path_importer_cache.clear()
    sys.argv = [order["program"], *order["arguments"]]
    program = [str(BIN / EVBUS)] if order["program"] == EVBUS else ["-m", order["program"]]
    sys.orig_argv = [sys.executable, *program, *order["arguments"]]  # with which a supervisor starts its workers


def _main() -> None:
    sys.path.insert(1, str(ROOT))
    from evbus_like import scripts
    from evbus_like.cli.main import COMMANDS

    for name in (*LOADED, *LAZY, *(f"evbus_like.cli.{each.replace('-', '_')}" for each in COMMANDS)):
        import_module(name)
    sys.path.remove(str(ROOT))
    gc.collect()
    gc.freeze()
    _fork_for_orders()
    if sys.argv[0] == EVBUS:
        scripts.start()
    else:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
