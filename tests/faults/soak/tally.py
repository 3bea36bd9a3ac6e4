"""A tally of what arrives: what is missing, what came again, what came late."""

from dataclasses import dataclass, field


@dataclass
class KeyTally:
    """The numbers of one key at one destination; keeps only the last and the gaps, so an hour costs no memory."""

    last: int = -1
    unique: int = 0
    repeats: int = 0
    late: int = 0  # first arrivals behind a higher number: the order was broken
    gaps: set[int] = field(default_factory=set)

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


class Tally:
    """All keys of one destination."""

    def __init__(self) -> None:
        self.keys: dict[str, KeyTally] = {}
        self.redelivered = 0  # by the broker to this reader, so no repeats of the sender's

    def note(self, key: str, number: int, redelivered: bool = False) -> None:
        """Take one arrival in."""
        tally = self.keys.setdefault(key, KeyTally())
        if redelivered and tally.has(number):
            self.redelivered += 1
        else:
            tally.note(number)

    def total(self, name: str) -> int:
        """Add one count up over all keys."""
        return sum(getattr(tally, name) for tally in self.keys.values())

    def missing(self, recorded: dict[str, list[int]]) -> list[tuple[str, int]]:
        """Give what was put for certain, and has not arrived."""
        nothing = KeyTally()
        return [
            (key, number)
            for key, numbers in recorded.items()
            for number in numbers
            if not self.keys.get(key, nothing).has(number)
        ]
