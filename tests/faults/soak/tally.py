"""A tally of what arrives: what is missing, came again, or came late, and whether an id stays what it is."""

from array import array
from dataclasses import dataclass, field
from hashlib import blake2b


@dataclass
class KeyTally:
    """The numbers of one key at one destination; it keeps the gaps and 8 bytes of each id, so an hour costs little."""

    last: int = -1
    unique: int = 0
    repeats: int = 0
    late: int = 0  # first arrivals behind a higher number: the order was broken
    other_ids: int = 0  # numbers that came, or were put, under a second id
    gaps: set[int] = field(default_factory=set)
    ids: "array[int]" = field(default_factory=lambda: array("Q"))

    def note(self, number: int) -> None:
        """Take one arrival in."""
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
        """Note the id of a number, or hold it against the one noted before."""
        if number >= len(self.ids):
            self.ids.extend([0] * (number + 1 - len(self.ids)))
        digest = int.from_bytes(blake2b(event_id.encode(), digest_size=8).digest())
        if self.ids[number] not in (0, digest):
            self.other_ids += 1
        self.ids[number] = digest


class Tally:
    """All keys of one destination."""

    def __init__(self) -> None:
        self.keys: dict[str, KeyTally] = {}
        self.redelivered = 0  # by the broker to this reader, so no repeats of the sender's

    def key(self, key: str) -> KeyTally:
        """Give the tally of a key."""
        return self.keys.setdefault(key, KeyTally())

    def note(self, key: str, number: int, event_id: str = "", redelivered: bool = False) -> None:
        """Take one arrival in."""
        tally = self.key(key)
        if event_id:
            tally.identify(number, event_id)
        if redelivered and tally.has(number):
            self.redelivered += 1
        else:
            tally.note(number)

    def total(self, name: str, prefix: str = "") -> int:
        """Add one count up over all keys, or over those that begin so."""
        return sum(getattr(tally, name) for key, tally in self.keys.items() if key.startswith(prefix))

    def missing(self, recorded: dict[str, list[int]]) -> list[tuple[str, int]]:
        """Give what was put for certain, and has not arrived."""
        return [
            (key, number) for key, numbers in recorded.items() for number in numbers if not self.key(key).has(number)
        ]


def twice(tallies: list[Tally]) -> int:
    """Count the ids that stand for more than one event, over all destinations (each event has one here)."""
    ids = array("Q")
    for tally in tallies:
        for key in tally.keys.values():
            ids.extend(digest for digest in key.ids if digest)
    return len(ids) - len(set(ids))
