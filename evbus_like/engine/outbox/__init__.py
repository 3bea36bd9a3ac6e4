"""The outbox: events that must not be lost, on disk until every destination has them."""

from evbus_like.engine.errors import (
    NewerOutbox,
    NotInOutbox,
    OutboxClosed,
    OutboxForked,
    OutboxFull,
    OutboxLocked,
    StorageError,
)
from evbus_like.engine.outbox.dead_letters import DeadFilter, DeadLetter
from evbus_like.engine.outbox.outbox import Outbox
from evbus_like.engine.outbox.recovery import Recovered
from evbus_like.engine.outbox.usage import Counts

__all__ = [
    "Counts",
    "DeadFilter",
    "DeadLetter",
    "NewerOutbox",
    "NotInOutbox",
    "Outbox",
    "OutboxClosed",
    "OutboxForked",
    "OutboxFull",
    "OutboxLocked",
    "Recovered",
    "StorageError",
]
