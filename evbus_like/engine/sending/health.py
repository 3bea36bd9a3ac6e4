"""The health of a destination: the lane's state, what is logged about it, and how long to wait after a failure."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

from evbus_like.engine.backoff import Backoff
from evbus_like.engine.errors import BatchRejected, Blocked, DeliveryError, DestinationRefused, Stalled
from evbus_like.engine.event import Event
from evbus_like.engine.failure import Failure, UnknownKindError

if TYPE_CHECKING:
    from evbus_like.engine.sending.lane import Lane

log = logging.getLogger("evbus_like.lane")

REMIND = 60.0  # seconds between two log lines about the same trouble
FEW = 10  # new troubles a minute that are all logged
REFUSED_BASE = 1.0  # seconds; somebody has to act first, so there is no hurry


class Health:
    """Records failures and recoveries of one lane's destination."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._logged = -REMIND
        self._since, self._changes = -REMIND, 0  # new troubles of the current minute, and when it began
        self._silent = False  # whether the current trouble was not logged, because there are too many
        self._reported = False  # whether the current refusal was reported
        self._backoff = Backoff(lane.options.retry_base, lane.options.retry_cap)
        self._refused = Backoff(REFUSED_BASE, lane.options.refused_cap)

    def record_failure(self, trouble: DeliveryError, batch: list[Event], attempts: int) -> None:
        """Log new trouble at once and lasting trouble once a minute; report a refusal once.

        Of trouble that comes and goes, the first ten in a minute are logged, and then the 100th, 1000th, ... with the
        count.

        `batch` holds the events that could not be sent, and `attempts` says how often that was tried.
        """
        lane, state = self._lane, _state(trouble)
        if batch and state == "refused" and not self._reported:
            self._reported = True
            lane.report(Failure(trouble, batch[0], lane.name, attempts, final=False))
        new = lane.state != state or str(trouble) != str(lane.error)
        if (new and self._is_logged()) or monotonic() - self._logged > REMIND:
            self._logged, self._silent = monotonic(), False
            other = "failed" if isinstance(trouble, UnknownKindError) else "cannot be reached"
            if isinstance(trouble, BatchRejected):
                other = "refused what it was sent"
            elif isinstance(trouble, Stalled):
                other = "takes a part of its events only"
            word = {"refused": "refuses", "blocked": "takes nothing for now"}.get(state, other)
            then = "" if state == "blocked" else ", trying again"
            often = f" ({self._changes} times in a minute)" if self._changes > FEW else ""
            said = (lane.name, word, len(lane.queue), then, trouble, often)
            log.warning("%s %s, %d events wait%s: %s%s", *said, extra={"destination": lane.name})
        lane.set_state(state, trouble)

    def _is_logged(self) -> bool:
        """Count new trouble, and return whether it is logged."""
        now = monotonic()
        if now - self._since > REMIND:
            self._since, self._changes = now, 0
        self._changes += 1
        self._silent = self._changes > FEW and str(self._changes).rstrip("0") != "1"
        return not self._silent

    def next_wait(self, trouble: DeliveryError) -> float:
        """Return the seconds to wait before the next attempt."""
        return (self._refused if isinstance(trouble, DestinationRefused) else self._backoff).next()

    def recovered(self) -> None:
        """Log that the destination works again, if it had failed, and reset the waits."""
        lane = self._lane
        if lane.error is not None and not self._silent:
            log.warning("%s is back, %d events wait", lane.name, len(lane.queue), extra={"destination": lane.name})
        lane.set_state("open")
        self._reported = False
        self.reset_waits()

    def reset_waits(self) -> None:
        """Begin with short waits again."""
        self._backoff.reset()
        self._refused.reset()


def _state(trouble: DeliveryError) -> str:
    if isinstance(trouble, DestinationRefused):
        return "refused"
    return "blocked" if isinstance(trouble, Blocked) else "retrying"
