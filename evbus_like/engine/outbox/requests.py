"""Requests to the process that has an outbox open: files in a folder beside it, each answered by another file.

The folder is there while a bus takes requests. A request is carried out within `GOOD_FOR` seconds, or never. To carry
one out twice does no harm: what was replayed or purged is no dead letter any more.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evbus_like.engine.errors import OutboxLocked
from evbus_like.engine.files import UnsafeFile, check_folder, open_own, read_own
from evbus_like.engine.outbox.lock import holder

REPLAY, PURGE = "replay", "purge"  # dead letters
SET_ASIDE, DISCARD = "set-aside", "discard"  # what waits for a destination
CANCEL = "cancel"  # an event that is sent later
GOOD_FOR = 30.0  # seconds
TICK = 0.05  # seconds between two looks for an answer
LARGEST = 1024 * 1024  # bytes of a request: 1000 numbers have 20 kB
MOST = 100  # requests that are taken at once
ASKED, ANSWERED = ".request", ".answer"


@dataclass(frozen=True)
class Request:
    """What to do with dead letters, by their numbers, or with what waits for the destination `to`.

    To replay, `to` is another destination, or empty for their own; to cancel, it is the id of an event.
    """

    action: str
    numbers: Sequence[int]
    to: str = ""


def folder(path: Path) -> Path:
    """Return the folder of the requests to the process that has an outbox open."""
    return path.with_name(f"{path.name}.requests")


def begin(path: Path) -> None:
    """Make the folder, for this user alone, or take it over; raises OSError."""
    place = folder(path)
    with suppress(FileExistsError):
        place.mkdir(0o700)
    found = os.lstat(place)
    if place.is_symlink() or found.st_uid not in (os.geteuid(), 0):
        raise UnsafeFile(f"{place} is not a folder of this user; remove it")
    check_folder(place)
    for file in place.iterdir():  # of an earlier process
        file.unlink(missing_ok=True)


def end(path: Path) -> None:
    """Remove the folder, with what is in it."""
    with suppress(OSError):
        for file in folder(path).iterdir():
            file.unlink(missing_ok=True)
        folder(path).rmdir()


def taken(path: Path) -> Iterator[tuple[str, Request]]:
    """Yield the names of requests, and the requests, that are still good; raises nothing."""
    try:
        names = sorted(each.name for each in folder(path).iterdir() if each.suffix == ASKED)[:MOST]
    except OSError:
        return
    for name in names:
        file = folder(path) / name
        request = _parsed(file)
        with suppress(OSError):
            file.unlink()
        if request is not None:
            yield name.removesuffix(ASKED), request


def _parsed(file: Path) -> Request | None:
    try:
        data = json.loads(read_own(file, LARGEST) or b"")
        if not 0 <= time.time() - float(data.pop("at")) < GOOD_FOR:
            return None
        request = Request(**data)
        known = request.action in (REPLAY, PURGE, SET_ASIDE, DISCARD, CANCEL) and isinstance(request.to, str)
        return request if known and all(type(number) is int for number in request.numbers) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def answer(path: Path, name: str, data: Any) -> None:
    """Answer a request; raises OSError."""
    _write(folder(path), f"{name}{ANSWERED}", data)


async def ask(path: Path, request: Request) -> dict[str, Any]:
    """Ask the process that has the outbox open, and return its answer; raises OutboxLocked if it gives none."""
    place, name, pid = folder(path), uuid.uuid4().hex, holder(path)
    file, answered = place / f"{name}{ASKED}", place / f"{name}{ANSWERED}"
    until = time.monotonic() + GOOD_FOR
    try:
        _write(place, file.name, {**asdict(request), "at": time.time()})
        while time.monotonic() < until and holder(path) is not None:
            with suppress(ValueError):
                if (text := read_own(answered)) is not None:
                    return dict(json.loads(text))
            await asyncio.sleep(TICK)
    except OSError:
        pass  # it ends just now
    finally:
        for each in (file, answered):
            with suppress(OSError):
                each.unlink()
    raise OutboxLocked(f"process {pid or 'unknown'} has the outbox {path} open, and does not answer", pid)


def _write(place: Path, name: str, data: Any) -> None:
    """Write a file that its reader sees whole, and that belongs to whom the folder belongs."""
    made = place / f"{name}.tmp"
    with open(open_own(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        file.write(json.dumps(data).encode())
        owner = place.stat()
        if os.geteuid() == 0 and owner.st_uid:
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
    made.rename(place / name)
