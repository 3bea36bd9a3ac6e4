"""Overflow: the events that a full lane dropped, counted by policy, and those that expired; logged once a minute."""

from __future__ import annotations

import logging
from collections import Counter
from time import monotonic

log = logging.getLogger("evbus_like.lane")

REMIND = 60.0  # seconds between two log lines about the same lane


class Overflow:
    """Counts and logs drops; never silent, and never one line an event."""

    def __init__(self, lane: str) -> None:
        self.lane = lane
        self.counts: Counter[str] = Counter()
        self._logged = self._expired_logged = -REMIND

    def note(self, policy: str, trouble: str) -> None:
        """Count a drop."""
        self.counts[policy] += 1
        if monotonic() - self._logged > REMIND:
            self._logged = monotonic()
            which = "the new ones" if policy == "drop_new" else "the oldest ones"
            log.warning(
                "%s is full and drops %s (when_full: %s), %d so far: %s. Raise max_events or max_bytes, or use"
                " when_full: spill to keep them on disk",
                self.lane,
                which,
                policy,
                self.counts[policy],
                trouble,
                extra={"destination": self.lane},
            )

    def note_expired(self, count: int, trouble: str) -> None:
        """Log that events expired, so many so far."""
        if monotonic() - self._expired_logged > REMIND:
            self._expired_logged = monotonic()
            log.warning(
                "%s: events expired before they could be sent, %d so far (%s). Give them a longer expires=, or find out"
                " why they wait",
                self.lane,
                count,
                trouble,
                extra={"destination": self.lane},
            )
