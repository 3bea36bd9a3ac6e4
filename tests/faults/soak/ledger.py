"""The ledger of one publisher: the puts that returned, compared with what has arrived."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults.soak.arrivals import Arrivals
from tests.faults.soak.side_file import SideFileReader


class Ledger:
    """Keeps the events of a side file that have not arrived yet."""

    def __init__(self, side_file: Path, arrivals_of: Callable[[str], Arrivals]) -> None:
        self.recorded: Counter[str] = Counter()  # puts that returned, by profile
        self.unknown = 0  # puts with an unknown outcome
        self._reading = SideFileReader(side_file)
        self._arrivals_of = arrivals_of
        self._waiting: dict[tuple[str, str], dict[int, int]] = {}  # profile and key: number and run

    def read(self) -> None:
        """Read what was put since the last call."""
        for line in self._reading.more():
            if not line.certain:
                self.unknown += 1
                continue
            self.recorded[line.profile] += 1
            key = self._arrivals_of(line.profile).key(line.key)
            key.identify(line.number, line.id)
            if not key.has(line.number):
                self._waiting.setdefault((line.profile, line.key), {})[line.number] = line.run

    def missing(self, profile: str) -> Counter[int]:
        """Count a profile's events that have not arrived, by the run that put them."""
        runs: Counter[int] = Counter()
        for (owner, key), numbers in self._waiting.items():
            if owner == profile:
                has = self._arrivals_of(profile).key(key).has
                for number in [number for number in numbers if has(number)]:
                    del numbers[number]
                runs.update(numbers.values())
        return runs

    def examples(self, profile: str, most: int = 10) -> list[str]:
        """Give some of the missing events as text."""
        found = [
            f"{key} {number} (run {run})"
            for (owner, key), numbers in self._waiting.items()
            if owner == profile
            for number, run in numbers.items()
        ]
        return found[:most]
