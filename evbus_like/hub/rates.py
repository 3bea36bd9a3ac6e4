"""Rates that all processes of one supervisor share, or, through a PostgreSQL, those of all machines."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from evbus_like.engine.rate import Slot
from evbus_like.engine.shared_rate import SharedLimit
from evbus_like.hub.runtime import Hub
from evbus_like.processes.worker import THIS

if TYPE_CHECKING:
    from evbus_like.postgres.database import Database


def begin(hub: Hub, databases: Sequence[Database]) -> None:
    """Share the rates through the first database, by its name, whose profile does not say `rates: false`."""
    chosen = min((each for each in databases if each.rates), key=lambda each: each.name, default=None)
    hub.evbus.RUNTIME.rates = None
    if chosen is not None:
        from evbus_like.postgres.rates import SharedRates

        run = f"{socket.gethostname()[:100]}:{os.getpid() if THIS is None else os.getppid()}"
        hub.evbus.RUNTIME.rates = SharedRates(chosen, run)


async def end(hub: Hub) -> None:
    """End what `begin` began."""
    if (shared := hub.evbus.RUNTIME.rates) is not None:
        await shared.close()


def limit(hub: Hub, name: str) -> Slot | SharedLimit | None:
    """Return where it is noted how far a rate is used up; None if that is this process."""
    shared = hub.evbus.RUNTIME.rates
    return shared_slot(name) if shared is None else SharedLimit(shared, name, shared_slot(name))


def shared_slot(name: str) -> Slot | None:
    """Return where it is noted until when a rate is used up; None in a process without a supervisor."""
    if THIS is None or THIS.shared < 0:
        return None
    from evbus_like.processes.shared import SharedSlots  # not before: few have rates

    return SharedSlots(THIS.shared).slot(name)
