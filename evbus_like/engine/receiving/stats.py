"""A tally: what a consumer has done with the events that it received."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class ConsumerStats:
    """Counts of events, and how the consumer stands; `repeats` were not handled again, `lost` could not be settled."""

    received: int = 0
    handled: int = 0
    failed: int = 0
    retried: int = 0
    requeued: int = 0
    dead: int = 0
    repeats: int = 0
    lost: int = 0
    state: str = "starting"
    trouble: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Give it as plain data."""
        return asdict(self)
