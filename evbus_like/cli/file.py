"""The outbox file: its path, and errors of reading or changing it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from evbus_like.engine.files import kind_of, resolve
from evbus_like.engine.outbox import NewerOutbox, Outbox, OutboxLocked, StorageError
from evbus_like.engine.outbox.connection import is_damage, primary_code, storage_error
from evbus_like.engine.outbox.files import check_files
from evbus_like.engine.outbox.lock import holder
from evbus_like.hub import outbox, outbox_place


def path(hub: Any) -> Path:
    """Return the path of the outbox: --outbox, EVBUS_OUTBOX, the configuration or the default."""
    given = outbox.configured(hub)
    if given is None:
        given = outbox_place.default_path(hub)
        others = outbox_place.others(hub)
        if len(others) == 1 and not given.exists():
            given = others[0]  # of the only application
    return resolve(given)


def there(file: Path) -> bool:
    """Whether the outbox exists; raises StorageError if something else is there, or if that cannot be known."""
    try:
        found = os.lstat(file)
        log = file.with_name(f"{file.name}-wal").exists()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise storage_error(str(file), error, "read") from error
    if stat.S_ISDIR(found.st_mode):
        raise StorageError(f"{file} is a folder; give the path of the outbox file in it: --outbox PATH")
    if not stat.S_ISREG(found.st_mode):
        raise StorageError(
            f"{file} is {kind_of(found.st_mode)}, not an outbox; give the path of the file: --outbox PATH"
        )
    return found.st_size > 0 or log


def nothing(file: Path) -> str:
    """Return a sentence that says there is no outbox."""
    others = sorted(file.parent.parent.glob(f"*/{outbox_place.FILE}")) if file.name == outbox_place.FILE else []
    more = f". Others, for --outbox: {', '.join(map(str, others))}" if others else ""
    return f"there is no outbox at {file}, so there are no waiting events and no dead letters{more}"


async def opened(file: Path) -> Outbox:
    """Open the outbox for changes, and say if it was damaged and recovered; raises what `changing` raises."""
    box = Outbox(file)
    with changing(file):
        recovered = await asyncio.to_thread(box.open)
    if recovered is not None:
        print(f"evbus: {recovered}", file=sys.stderr)
    return box


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Turn errors of a damaged file into a StorageError that says what to do."""
    try:
        yield
    except NewerOutbox:
        raise
    except StorageError as error:
        if _is_damage(error.__cause__):
            with suppress(OSError):
                check_files(file)  # says so if it is none of ours, which no start of the bus mends
            raise _damaged(file, error.__cause__) from error
        raise
    except (ValueError, TypeError) as error:  # a row whose headers cannot be unpacked
        raise _damaged(file, error) from error


@contextmanager
def changing(file: Path) -> Iterator[None]:
    """Raise OutboxLocked, which names the process that has the outbox open, and says what to do."""
    try:
        pid = holder(file)
    except OSError as error:
        raise storage_error(str(file), error, "opened") from error
    try:
        if pid is not None:
            raise OutboxLocked("", pid)
        yield
    except OutboxLocked as error:
        who = f"by process {error.pid}" if error.pid else "by an unknown process"
        raise OutboxLocked(
            f"the outbox {file} is in use {who}, so nothing was changed. Stop that process, run this again,"
            " then start it again. ls and show work beside it",
            error.pid,
        ) from None


def _is_damage(cause: BaseException | None) -> bool:
    return isinstance(cause, sqlite3.DatabaseError) and (primary_code(cause) is None or is_damage(cause))


def _damaged(file: Path, cause: BaseException | None) -> StorageError:
    return StorageError(
        f"the outbox {file} is damaged ({cause}). Start the bus: it keeps the file under another name, and"
        " recovers what can be read"
    )
