"""Notes of events under way, so that an event that ends its worker each time is set aside undecoded.

A worker that is killed for its memory can say nothing any more, and a source only says that it delivered the event
before; Kafka, and RabbitMQ after a restart, not even that. So a worker notes on the disk when it begins and ends an
event that may have been delivered before; the next one reads what was begun.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

from evbus_like.engine.receiving.received import ReceivedEvent

log = logging.getLogger("evbus_like.handlers")

MOST_DEATHS = 3  # workers that ended while they handled an event; then it is given up
MOST_KEPT = 1000  # events whose deaths are remembered
MOST_BYTES = 1 << 20  # of a file of notes
SCAN_EVERY = 1.0  # seconds
BEGIN, END, COUNT = "+", "-", "="


class Deaths:
    """The notes of one worker, in a file of its own that it holds locked, and those of workers that ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._file = -1
        self._size = 0
        self._under_way = 0
        self._scanned = 0.0
        self._broken = False
        self._alone = asyncio.Lock()

    @asynccontextmanager
    async def noted(self, ref: str, event: ReceivedEvent) -> AsyncIterator[str]:
        """Note that an event is handled; gives why it must not be, or an empty text.

        Events that saw a worker end are handled one at a time, so that those beside the guilty one are not counted.
        """
        key = _key(ref, event)
        count = self._count(key)
        if not count:
            with self._begun(key):
                yield ""
            return
        async with self._alone:
            with self._begun(key):
                yield f"its worker ended {count} times while it was handled" if count >= MOST_DEATHS else ""
        if self._counts.pop(key, 0):
            self._write(f"{COUNT}{key} 0\n")

    def count(self, ref: str, event: ReceivedEvent) -> int:
        """Return how many workers have ended while they handled an event."""
        return self._count(_key(ref, event))

    @contextmanager
    def begun(self, ref: str, events: Iterable[ReceivedEvent]) -> Iterator[None]:
        """Note that events, none of which has seen a worker end, are handled at once."""
        with ExitStack() as noted:
            for event in events:
                noted.enter_context(self._begun(_key(ref, event)))
            yield

    @contextmanager
    def _begun(self, key: str) -> Iterator[None]:
        self._write(f"{BEGIN}{key}\n")
        self._under_way += 1
        try:
            yield
        except KeyboardInterrupt:  # it ends this worker: its note stays, as after a kill
            raise
        except BaseException:
            self._end(key)
            raise
        else:
            self._end(key)

    def _end(self, key: str) -> None:
        self._under_way -= 1
        self._write(f"{END}{key}\n")
        if self._size > MOST_BYTES and not self._under_way:
            self._shorten()

    def _count(self, key: str) -> int:
        now = time.monotonic()
        if now > self._scanned + SCAN_EVERY or not self._scanned:
            self._scanned = now
            with self._surviving():
                self._open()
                for path in list(self._folder.iterdir()):
                    if not path.name.startswith("."):
                        with self._surviving():
                            self._take_over(path)
        return self._counts.get(key, 0)

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._broken:
                log.warning("events that end their worker cannot be noted in %s: %s", self._folder, error)
            self._broken = True

    def _open(self) -> None:
        if self._file >= 0:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        hidden = self._folder / f".{name}"  # until it is locked
        self._file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        hidden.rename(self._folder / name)

    def _take_over(self, path: Path) -> None:
        """Read and remove the notes of a worker that has ended."""
        try:
            file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:  # another worker took them over
            return
        try:
            with suppress(BlockingIOError):  # it is alive
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._add(os.read(file, 2 * MOST_BYTES).decode(errors="replace"))
                path.unlink(missing_ok=True)
        finally:
            os.close(file)

    def _add(self, notes: str) -> None:
        found: dict[str, int] = {}
        for line in notes.splitlines():
            kind, (key, _, number) = line[:1], line[1:].partition(" ")
            if kind == COUNT and number.isdecimal():
                found[key] = int(number[:9])
            elif kind in (BEGIN, END):
                found[key] = max(0, found.get(key, 0) + (1 if kind == BEGIN else -1))
        for key, count in found.items():
            if count:
                self._counts[key] = self._counts.get(key, 0) + count
                self._write(f"{COUNT}{key} {self._counts[key]}\n")
        while len(self._counts) > MOST_KEPT:
            self._counts.popitem(last=False)

    def _write(self, line: str) -> None:
        if self._file >= 0:
            with self._surviving():
                self._size += os.write(self._file, line.encode())

    def _shorten(self) -> None:
        with self._surviving():
            os.ftruncate(self._file, 0)
        self._size = 0
        for key, count in self._counts.items():
            self._write(f"{COUNT}{key} {count}\n")

    def close(self) -> None:
        """Leave the notes to other workers."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _key(ref: str, event: ReceivedEvent) -> str:
    digest = blake2b(event.raw if not event.id else event.raw[:4096], digest_size=16)
    digest.update(f"{ref} {event.routing_key} {event.id} {len(event.raw)}".encode(errors="replace"))
    return digest.hexdigest()
