"""A mutant: one promise broken on purpose, and the smallest test that is expected to notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BROKERS = ("tests/integration/", "tests/faults/", "tests/conformance/")


@dataclass(frozen=True)
class Mutant:
    """A piece of text of one file, which must occur there exactly once, and what stands there instead.

    `breaks` says which promise that breaks; `test` is the node id, for pytest, of what must notice.
    """

    name: str
    breaks: str
    file: str
    old: str
    new: str
    test: str

    @property
    def needs_brokers(self) -> bool:
        """Whether its test runs on real brokers."""
        return self.test.startswith(BROKERS)

    def occurrences(self, root: Path = ROOT) -> int:
        """How often its text occurs in its file; anything but once is a mutant that does not fit any more."""
        return (root / self.file).read_text(encoding="utf-8").count(self.old)

    def apply(self, root: Path) -> None:
        """Break the promise in the tree at `root`; raises ValueError where the text is not there exactly once."""
        if (found := self.occurrences(root)) != 1:
            raise ValueError(f"{self.name}: its text occurs {found} times in {self.file}; write it anew in the list")
        path = root / self.file
        path.write_text(path.read_text(encoding="utf-8").replace(self.old, self.new), encoding="utf-8")
