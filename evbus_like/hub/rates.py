"""Rates that all processes of one supervisor share."""

from __future__ import annotations

from evbus_like.engine.rate import Slot
from evbus_like.processes.worker import THIS


def shared_slot(name: str) -> Slot | None:
    """Return where it is noted until when a rate is used up; None in a process without a supervisor."""
    if THIS is None or THIS.shared < 0:
        return None
    from evbus_like.processes.shared import SharedSlots  # not before: few have rates

    return SharedSlots(THIS.shared).slot(name)
