"""The outbox of an application: where its file is, and when it is opened."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from evbus_like.engine.errors import OutboxLocked, SettingError, StorageError
from evbus_like.engine.given_files import expanded
from evbus_like.engine.sending.router import Entry
from evbus_like.hub import outbox_place
from evbus_like.hub.profiles import settings
from evbus_like.hub.runtime import Hub
from evbus_like.processes.worker import THIS

if TYPE_CHECKING:
    from evbus_like.engine.outbox import Outbox, Recovered

log = logging.getLogger("evbus_like.outbox")

MOST_OUTBOXES = 1024  # of one application; workers of an earlier supervisor may still have theirs


def configured(hub: Hub) -> Path | None:
    """Return the path that the configuration, or EVBUS_OUTBOX, names, or None."""
    given = settings.config(hub, "outbox_path") or os.environ.get("EVBUS_OUTBOX")
    try:
        return expanded(str(given)) if given else None
    except RuntimeError:
        said = f"setting outbox_path: {given} begins with a home folder that does not exist{origin(hub)}"
        raise SettingError(said) from None


def origin(hub: Hub) -> str:
    """Return where the path came from, in brackets, empty for the default path."""
    if settings.config(hub, "outbox_path"):
        return f" ({settings.origin(hub, 'outbox_path')})"
    return " (environment variable EVBUS_OUTBOX)" if os.environ.get("EVBUS_OUTBOX") else ""


@contextmanager
def named(hub: Hub) -> Iterator[None]:
    """Add where its path came from to an error of the outbox."""
    try:
        yield
    except (StorageError, OutboxLocked) as error:
        if (where := origin(hub)) not in str(error):
            error.args = (f"{error}{where}",)
        raise


def wanted(entries: Sequence[Entry]) -> bool:
    """Return whether a profile needs an outbox."""
    return any(entry.lane.options.durable or entry.lane.options.when_full == "spill" for entry in entries)


async def opened(hub: Hub, entries: Sequence[Entry], needed: bool = False) -> Outbox | None:
    """Open the outbox and return it; None if neither the caller, a profile nor the configuration asks for one.

    Raises OutboxLocked, StorageError and other EvbusErrors."""
    path = configured(hub)
    if path is None and not needed and not wanted(entries):
        return None
    if path is None:
        await asyncio.to_thread(_report_earlier, hub)
        path = outbox_place.default_path(hub)
    most = int(settings.config(hub, "outbox_max_bytes", 1024**3))
    with named(hub):
        box, recovered = await asyncio.to_thread(_open_alone if THIS is None else _open_free, path, most)
    if recovered is not None:
        log.error("%s", recovered)
    counts = box.counts()
    names = {entry.lane.name for entry in entries}
    for name, count in counts.pending.items():
        if name in names:
            log.warning("%d events for %s were left in the outbox %s and are sent now", count, name, box.path)
        else:
            log.warning(
                "%d events in the outbox %s are for %s; no such profile exists, they are kept: see `evbus outbox ls`",
                count,
                box.path,
                name,
            )
    return box


def _open_alone(path: Path, most: int) -> tuple[Outbox, Recovered | None]:
    from evbus_like.engine.outbox import Outbox

    box = Outbox(path, most)
    return box, box.open()


def _open_free(path: Path, most: int) -> tuple[Outbox, Recovered | None]:
    """Open the first outbox of the application that no process has open: each worker has one of its own."""
    for number in range(1, MOST_OUTBOXES):
        candidate = outbox_place.of_worker(path, number)
        if is_free(candidate):
            with suppress(OutboxLocked):  # another worker was faster
                return _open_alone(candidate, most)
    return _open_alone(outbox_place.of_worker(path, MOST_OUTBOXES), most)


async def cancel_elsewhere(hub: Hub, event_id: str) -> bool:
    """Cancel an event that another process of this application, on this machine, is to send later."""
    box = hub.evbus.RUNTIME.bus.outbox
    if box is None:
        return False
    from evbus_like.engine.outbox import elsewhere

    for path in outbox_place.of_workers(configured(hub) or outbox_place.default_path(hub)):
        if path != box.path and await elsewhere.cancel(path, event_id):
            return True
    return False


def is_free(path: Path) -> bool:
    """Whether no process has an outbox open, as far as that can be known; to open it says more."""
    from evbus_like.engine.outbox.lock import holder

    try:
        return holder(path) is None
    except OSError:
        return True


def _report_earlier(hub: Hub) -> None:
    """Log what waits in other outboxes that may be of this application and that no process has open."""
    from evbus_like.engine.outbox.inspect import summarize

    for path in outbox_place.earlier(hub):
        try:
            found = summarize(path)
        except StorageError as error:
            log.warning("an outbox of another start cannot be read: %s", error)
            continue
        waiting = sum(found.waiting.values())
        if (waiting or found.dead) and found.holder is None:
            log.warning(
                "the outbox %s holds %d events and %d dead letters, and no process has it open; this application uses"
                " %s. To send them: EVBUS_OUTBOX=%s evbus outbox flush",
                path,
                waiting,
                found.dead,
                outbox_place.default_path(hub),
                path,
            )
