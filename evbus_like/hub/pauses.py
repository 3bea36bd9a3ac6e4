"""Pauses: the handlers and destinations that an operator has stopped, in a file that all processes read."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from evbus_like.engine.errors import SettingError, StorageError
from evbus_like.hub import outbox_place
from evbus_like.hub.runtime import Hub

log = logging.getLogger("evbus_like.pauses")

FILE, LOCK = "paused.json", "paused.lock"
LOOK_EVERY = 1.0  # seconds
LARGEST = 1 << 20  # bytes of the file

Pauses = dict[str, dict[str, Any]]  # names, or patterns, of handlers and destinations: since when, and why


def path(hub: Hub) -> Path:
    """Return where the pauses of this application are; raises SettingError where a user has no such place."""
    return outbox_place.folder() / outbox_place.application(hub) / FILE


def read(where: Path) -> Pauses:
    """Return the pauses in a file, none if it does not exist; raises StorageError."""
    try:
        file = os.open(where, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StorageError(f"the pauses in {where} cannot be read: {error.strerror}") from error
    with os.fdopen(file, "rb") as opened:
        try:
            found = json.loads(opened.read(LARGEST)).items()
            return {name: {"since": float(each["since"]), "reason": str(each["reason"])} for name, each in found}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise StorageError(
                f"the pauses in {where} cannot be read ({type(error).__name__}): remove the file, and pause again what"
                " must not run"
            ) from error


def change(where: Path, pause: Collection[str] = (), resume: Collection[str] = (), reason: str = "") -> Pauses:
    """Pause and resume names, and return all that are paused then; on the disk when this returns.

    Raises StorageError, and has changed nothing then.
    """
    try:
        where.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(where.with_name(LOCK)):
            found = {name: facts for name, facts in read(where).items() if name not in resume}
            now = time.time()
            for name in pause:
                found[name] = {"since": found.get(name, {}).get("since", now), "reason": reason}
            _write(where, found)
            return found
    except OSError as error:
        raise StorageError(f"the pauses in {where} cannot be changed: {error.strerror or error}") from error


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _write(where: Path, pauses: Pauses) -> None:
    import tempfile  # not before: a program that only puts starts sooner

    file, name = tempfile.mkstemp(dir=where.parent, prefix=".paused-")
    try:
        with os.fdopen(file, "w") as opened:
            json.dump(pauses, opened, indent=2)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(name, where)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    folder = os.open(where.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def why(pauses: Mapping[str, Mapping[str, Any]], name: str, *more: str) -> str:
    """Return why something with these names is paused, or an empty string if it is not."""
    for pattern, facts in pauses.items():
        if any(fnmatchcase(each, pattern) for each in (name, *more)):
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(facts["since"]))
            because = f" ({facts['reason']})" if facts["reason"] else ""
            return f"paused since {since}{because}; `evbus resume {pattern}` ends that"
    return ""


def current(hub: Hub) -> Pauses:
    """Return the pauses of this application as they are now; raises StorageError."""
    try:
        return read(path(hub))
    except SettingError:  # a user without a home folder has none
        return {}


def apply(hub: Hub, pauses: Pauses) -> None:
    """Pause and resume the handlers and the destinations of this process, as the pauses say."""
    bus, group = hub.evbus.RUNTIME.bus, hub.evbus.RUNTIME.handlers
    for lane, worker in bus.workers.items():
        worker.pause(why(pauses, lane.name))
    if group is not None and group.follows_pauses:
        for consumer in group.consumers:
            handler = consumer.invoker.handler
            consumer.pause(why(pauses, f"{handler.service}.{handler.name}", handler.service))


def watch(hub: Hub) -> asyncio.Task[None] | None:
    """Begin to follow the file, for as long as the bus runs."""
    try:
        where = path(hub)
    except SettingError as error:
        log.info("`evbus pause` does not reach this process: %s", error)
        return None
    return asyncio.create_task(_watch(hub, where), name="evbus_like pauses")


async def end(task: asyncio.Task[None] | None) -> None:
    """End what `watch` began."""
    if task is not None:
        task.cancel()
        await asyncio.wait([task], timeout=2.0)


async def _watch(hub: Hub, where: Path) -> None:
    seen: Any = ()
    said = ""
    pauses: Pauses = {}
    while True:
        if (now := _version(where)) != seen:
            try:
                pauses, seen, said = await asyncio.to_thread(read, where), now, ""
            except StorageError as error:
                if str(error) != said:
                    said = str(error)
                    log.error("%s; what is paused stays so", error)
        if not said:
            apply(hub, pauses)  # each time: a reload brings new destinations
        await asyncio.sleep(LOOK_EVERY)


def _version(where: Path) -> tuple[int, ...]:
    """Return what changes with a file; nothing while it does not exist."""
    try:
        facts = os.stat(where)
    except OSError:
        return (0,)
    return facts.st_mtime_ns, facts.st_size, facts.st_ino
