"""The account: what happened to every accepted event."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class LaneAccount:
    """The account of one destination; counts are events.

    `drops` counts the dropped events by policy, `last_dead_letter` is why an event was given up last. At any time
    accepted = delivered + spilled + dead_lettered + dropped + expired + remaining.
    """

    destination: str
    accepted: int = 0
    delivered: int = 0
    spilled: int = 0
    dead_lettered: int = 0
    dropped: int = 0
    expired: int = 0
    remaining: int = 0
    retries: int = 0
    error: str = ""
    last_dead_letter: str = ""
    drops: dict[str, int] = field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        """Whether every accepted event is accounted for."""
        gone = self.delivered + self.dead_lettered + self.dropped + self.expired
        return self.accepted == gone + self.spilled + self.remaining


SUMMED = ("accepted", "delivered", "spilled", "dead_lettered", "dropped", "expired", "remaining", "retries")


@dataclass
class Account:
    """The account of the whole bus.

    `put` counts events; `unmatched` of them matched no profile, `rejected` were refused, `queued` are still
    in the intake queue. The other counts are deliveries: an event that matches two profiles is accepted twice.
    """

    put: int = 0
    unmatched: int = 0
    rejected: int = 0
    queued: int = 0
    lanes: list[LaneAccount] = field(default_factory=list)

    def __getattr__(self, name: str) -> int:
        if name in SUMMED:
            return sum(getattr(lane, name) for lane in self.lanes)
        raise AttributeError(name)

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise KeyError(name) from None

    @property
    def balanced(self) -> bool:
        """Whether every accepted event is accounted for, at every destination."""
        return all(lane.balanced for lane in self.lanes)

    @property
    def complete(self) -> bool:
        """Whether every event put was delivered to a destination."""
        return not (self.unmatched or self.rejected or self.queued) and self.accepted == self.delivered

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        totals = {name: getattr(self, name) for name in SUMMED}
        counts = {"put": self.put, "unmatched": self.unmatched, "rejected": self.rejected, "queued": self.queued}
        return {**counts, **totals, "destinations": [asdict(lane) for lane in self.lanes]}

    def __str__(self) -> str:
        always = [name for name in SUMMED if name not in ("retries", "expired")]
        parts = [f"put {self.put}", *(f"{name.replace('_', '-')} {getattr(self, name)}" for name in always)]
        parts += [
            f"{name} {getattr(self, name)}"
            for name in ("expired", "unmatched", "rejected", "queued")
            if getattr(self, name)
        ]
        return ", ".join(parts)
