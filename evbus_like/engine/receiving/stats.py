"""What a consumer counts, and its trouble with events that the source does not settle."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from evbus_like.engine.dead_reasons import DeadReasons
from evbus_like.engine.receiving.received import ReceivedEvent

log = logging.getLogger("evbus_like.handlers")

REMIND = 60.0  # seconds between two log lines


@dataclass
class ConsumerStats:
    """Counts of a consumer's events, and its state.

    `filtered` were not wanted (`where`), `expired` came too late, `repeats` were not handled again, `limited` waited
    because of the handler's `rate`, `lost` could not be settled.
    """

    received: int = 0
    handled: int = 0
    filtered: int = 0
    expired: int = 0
    failed: int = 0
    retried: int = 0
    requeued: int = 0
    dead: int = 0
    repeats: int = 0
    limited: int = 0
    lost: int = 0
    state: str = "starting"
    trouble: str = ""
    dead_reasons: DeadReasons = field(default_factory=DeadReasons)

    def add_dead(self, reason: str) -> None:
        """Count a dead letter."""
        self.dead += 1
        self.dead_reasons.add(reason)

    def as_dict(self) -> dict[str, Any]:
        """Return the stats as plain data."""
        return {**vars(self), "dead_reasons": self.dead_reasons.as_dict()}


class Unsettled:
    """The events of one consumer whose disposition failed and is tried again; each keeps a worker.

    They are trouble in the stats, and a line of the log once a minute.
    """

    def __init__(self, stats: ConsumerStats) -> None:
        self._stats = stats
        self._events: set[ReceivedEvent] = set()
        self._logged = -REMIND
        self._said = False  # whether the log has the current trouble

    def add(self, event: ReceivedEvent, source: str, verb: str, why: str) -> None:
        """Note that an event could not be settled."""
        self._events.add(event)
        count = len(self._events)
        waiting = f"{count} event{'s' * (count > 1)}"
        self._stats.trouble = f"{waiting} cannot be settled ({verb}), trying again: {why}"
        if monotonic() - self._logged > REMIND:
            self._logged, self._said = monotonic(), True
            log.warning("%s did not %s %s, trying again (%s so far): %s", source, verb, event, waiting, why)

    def done(self, event: ReceivedEvent, source: str) -> None:
        """Forget an event that is settled, or that the source has taken back."""
        if event not in self._events:
            return
        self._events.discard(event)
        if not self._events:
            self._stats.trouble = ""
            if self._said:
                log.warning("%s settles events again", source)
            self._said = False

    def clear(self) -> None:
        """Forget all events: their feed has ended."""
        if self._events:
            self._events.clear()
            self._stats.trouble, self._said = "", False
