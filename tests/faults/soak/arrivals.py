"""What has arrived: which events are missing, repeated or late, and whether each keeps its id."""

from array import array
from dataclasses import dataclass, field
from hashlib import blake2b


@dataclass
class KeyArrivals:
    """The numbers of one key at one destination; only gaps and 8 bytes per id are kept, to save memory."""

    last: int = -1
    unique: int = 0
    repeats: int = 0
    late: int = 0  # first arrivals after a higher number: the order was broken
    other_ids: int = 0  # numbers that arrived, or were put, with a second id
    gaps: set[int] = field(default_factory=set)
    ids: "array[int]" = field(default_factory=lambda: array("Q"))

    def note(self, number: int) -> None:
        """Record one arrival."""
        if number > self.last:
            self.gaps.update(range(self.last + 1, number))
            self.last = number
            self.unique += 1
        elif number in self.gaps:
            self.gaps.remove(number)
            self.unique += 1
            self.late += 1
        else:
            self.repeats += 1

    def has(self, number: int) -> bool:
        """Whether a number has arrived."""
        return number <= self.last and number not in self.gaps

    def identify(self, number: int, event_id: str) -> None:
        """Record the id of a number, or compare it with the one recorded before."""
        if number >= len(self.ids):
            self.ids.extend([0] * (number + 1 - len(self.ids)))
        digest = int.from_bytes(blake2b(event_id.encode(), digest_size=8).digest())
        if self.ids[number] not in (0, digest):
            self.other_ids += 1
        self.ids[number] = digest


class Arrivals:
    """The arrivals of all keys at one destination."""

    def __init__(self) -> None:
        self.keys: dict[str, KeyArrivals] = {}
        self.redelivered = 0  # redelivered by the broker to this reader, not repeated by the sender

    def key(self, key: str) -> KeyArrivals:
        """Give the arrivals of one key."""
        return self.keys.setdefault(key, KeyArrivals())

    def note(self, key: str, number: int, event_id: str = "", redelivered: bool = False) -> None:
        """Record one arrival."""
        arrivals = self.key(key)
        if event_id:
            arrivals.identify(number, event_id)
        if redelivered and arrivals.has(number):
            self.redelivered += 1
        else:
            arrivals.note(number)

    def total(self, name: str, prefix: str = "") -> int:
        """Add up one count over all keys, or over those that start with the prefix."""
        return sum(getattr(arrivals, name) for key, arrivals in self.keys.items() if key.startswith(prefix))

    def missing(self, recorded: dict[str, list[int]]) -> list[tuple[str, int]]:
        """Give the recorded events that have not arrived."""
        return [
            (key, number) for key, numbers in recorded.items() for number in numbers if not self.key(key).has(number)
        ]


def reused_ids(destinations: list[Arrivals]) -> int:
    """Count the ids that more than one event has, over all destinations (each event has one destination here)."""
    ids = array("Q")
    for arrivals in destinations:
        for key in arrivals.keys.values():
            ids.extend(digest for digest in key.ids if digest)
    return len(ids) - len(set(ids))
