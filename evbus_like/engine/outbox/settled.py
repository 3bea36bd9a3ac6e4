"""What was delivered and is not yet struck off on the disk: it waits a moment for a commit that others need anyway."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import monotonic

LINGER = 0.02  # seconds that settled events wait for company; a commit of their own would double those of single events
ENOUGH = 2000  # settled events that wait no longer
RETRY = 5.0  # seconds before settled events are tried again by themselves, after the disk failed


class SettleBuffer:
    """Seqs by destination; lanes add them, the writer takes them."""

    def __init__(self) -> None:
        self._seqs: dict[str, list[int]] = {}
        self._count = 0
        self._due = 0.0
        self._lock = threading.Lock()

    def add(self, destination: str, seqs: Sequence[int]) -> bool:
        """Add seqs and say whether the writer should be told: of the first, and of many."""
        with self._lock:
            first = not self._count
            if first:
                self._due = monotonic() + LINGER
            self._count += len(seqs)
            self._seqs.setdefault(destination, []).extend(seqs)
            return first or self._count >= ENOUGH

    def put_back(self, seqs: dict[str, list[int]]) -> None:
        """Add what could not be written, for the next commit or a later try."""
        for destination, its in seqs.items():
            self.add(destination, its)
        with self._lock:
            self._due = monotonic() + RETRY

    def take(self) -> dict[str, list[int]]:
        """Take all of them."""
        if not self._count:
            return {}
        with self._lock:
            seqs, self._seqs, self._count = self._seqs, {}, 0
            return seqs

    def due(self) -> bool:
        """Whether they have waited long enough."""
        return bool(self._count) and (monotonic() >= self._due or self._count >= ENOUGH)

    def patience(self) -> float:
        """How many seconds the writer may sleep; -1 for as long as it likes."""
        return max(0.0, self._due - monotonic()) if self._count else -1
