"""Offsets: what was read of each partition, what of it is settled, and up to where that may be committed."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Any


class Partition:
    """The reading of one partition, from its assignment to its revocation.

    Records come in the order of their offsets, which may have gaps (compaction, transactions). A later assignment of
    the same partition has an object of its own, so what is settled too late is settled nowhere.
    """

    __slots__ = ("_order", "committed", "next", "open")

    def __init__(self) -> None:
        self.next: int | None = None  # the offset after the latest that was read
        self.committed: int | None = None
        self.open: dict[int, Any] = {}  # what is not settled, by offset
        self._order: deque[int] = deque()  # offsets that were taken, from the oldest that is not settled

    def passed(self, offset: int) -> None:
        """Note a record that nobody wants."""
        self.next = offset + 1

    def take(self, offset: int, item: Any) -> None:
        """Note a record that is to be settled."""
        self.next = offset + 1
        self.open[offset] = item
        self._order.append(offset)

    def settle(self, offset: int) -> bool:
        """Note that a record is dealt with; whether it was not before."""
        return self.open.pop(offset, None) is not None

    @property
    def position(self) -> int | None:
        """What may be committed: the oldest offset that is not settled, else the next one; None before any is read."""
        order, waiting = self._order, self.open
        while order and order[0] not in waiting:
            order.popleft()
        return order[0] if order else self.next

    @property
    def ahead(self) -> int:
        """How far the reading is beyond what may be committed."""
        position = self.position
        return 0 if position is None or self.next is None else self.next - position


class Offsets:
    """The partitions that are read now, by their places."""

    def __init__(self) -> None:
        self._partitions: dict[Hashable, Partition] = {}

    def __iter__(self) -> Iterator[tuple[Any, Partition]]:
        return iter(self._partitions.items())

    def of(self, place: Hashable) -> Partition:
        """Give a partition, a new one where it is not read yet."""
        partition = self._partitions.get(place)
        if partition is None:
            partition = self._partitions[place] = Partition()
        return partition

    def drop(self, place: Hashable) -> None:
        """Forget a partition: it is somebody else's, or read from another place."""
        self._partitions.pop(place, None)

    def due(self) -> dict[Any, int]:
        """Give what may be committed and is not, by place."""
        found = {}
        for place, partition in self._partitions.items():
            position = partition.position
            if position is not None and position != partition.committed:
                found[place] = position
        return found

    def note(self, committed: dict[Any, int]) -> None:
        """Note what was committed."""
        for place, position in committed.items():
            if place in self._partitions:
                self._partitions[place].committed = position
