"""The ledger of one publisher: the puts that returned, held against what has arrived."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults.soak.side import Reading
from tests.faults.soak.tally import Tally


class Ledger:
    """Keeps the events of a side file that have not arrived; the others cost nothing."""

    def __init__(self, side_file: Path, tally_of: Callable[[str], Tally]) -> None:
        self.recorded: Counter[str] = Counter()  # puts that returned, by profile
        self.unknown = 0  # puts that did not say what became of the event
        self._reading = Reading(side_file)
        self._tally_of = tally_of
        self._waiting: dict[tuple[str, str], dict[int, int]] = {}  # profile and key: number and run

    def read(self) -> None:
        """Take in what was put since the last time."""
        for line in self._reading.more():
            if not line.certain:
                self.unknown += 1
                continue
            self.recorded[line.profile] += 1
            key = self._tally_of(line.profile).key(line.key)
            key.identify(line.number, line.id)
            if not key.has(line.number):
                self._waiting.setdefault((line.profile, line.key), {})[line.number] = line.run

    def missing(self, profile: str) -> Counter[int]:
        """Count a profile's events that have not arrived, by the run that put them."""
        runs: Counter[int] = Counter()
        for (its, key), numbers in self._waiting.items():
            if its == profile:
                has = self._tally_of(profile).key(key).has
                for number in [number for number in numbers if has(number)]:
                    del numbers[number]
                runs.update(numbers.values())
        return runs

    def examples(self, profile: str, most: int = 10) -> list[str]:
        """Name some of the missing, for people."""
        found = [
            f"{key} {number} (run {run})"
            for (its, key), numbers in self._waiting.items()
            if its == profile
            for number, run in numbers.items()
        ]
        return found[:most]
