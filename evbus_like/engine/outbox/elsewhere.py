"""Scheduled events in outboxes that other processes of the application have open, or have left."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from evbus_like.engine.errors import OutboxLocked, StorageError
from evbus_like.engine.outbox import requests
from evbus_like.engine.outbox.inspect import holds
from evbus_like.engine.outbox.lock import holder
from evbus_like.engine.outbox.outbox import Outbox

log = logging.getLogger("evbus_like.outbox")


async def cancel(path: Path, event_id: str) -> bool:
    """Cancel an event in an outbox, through the bus that has it open, if one has; raises StorageError, OutboxLocked."""
    if not await asyncio.to_thread(holds, path, event_id):
        return False
    if requests.folder(path).exists() and holder(path) is not None:
        answer = await requests.ask(path, requests.Request(requests.CANCEL, (), event_id))
        if "error" in answer:
            raise StorageError(f"the process that has the outbox {path} open says: {answer['error']}")
        return bool(answer["done"])
    box = Outbox(path)
    try:
        if (recovered := await asyncio.to_thread(box.open)) is not None:
            log.error("%s", recovered)
    except OutboxLocked as error:
        raise OutboxLocked(
            f"the event {event_id[:100]!r} is in the outbox {path}, which process {error.pid or 'unknown'} has just"
            " opened: cancel it again",
            error.pid,
        ) from None
    try:
        return await box.cancel(event_id)
    finally:
        await box.close()
