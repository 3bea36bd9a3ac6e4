"""Offsets: what was read of each partition, what of it is settled, and which offset may be committed."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Any


class Partition:
    """The reading of one partition, from its assignment to its revocation.

    Records come in the order of their offsets, which may have gaps (compaction, transactions). A later assignment of
    the partition gets a new object, so that settling an old record has no effect on it.
    """

    __slots__ = ("_order", "begun", "committed", "keys", "next", "open")

    def __init__(self) -> None:
        self.begun = -1  # the offset of the first record; -1 before one was read
        self.next: int | None = None  # the offset after the latest record that was read
        self.committed: int | None = None
        self.open: dict[int, Any] = {}  # unsettled events by offset
        self.keys: dict[bytes, tuple[Any, Any]] = {}  # what the reader has made of the keys of records
        self._order: deque[int] = deque()  # offsets in order, from the oldest unsettled one

    def skip(self, offset: int) -> None:
        """Note a record that no handler wants."""
        self.next = offset + 1

    def take(self, offset: int, item: Any) -> None:
        """Note a record that must be settled."""
        self.next = offset + 1
        self.open[offset] = item
        if self.begun < 0:
            self.begun = offset
        self._order.append(offset)

    def settle(self, offset: int) -> bool:
        """Settle a record; False if it was settled before."""
        return self.open.pop(offset, None) is not None

    @property
    def position(self) -> int | None:
        """The offset to commit: the oldest unsettled one, else the next one; None before any record was read."""
        order, waiting = self._order, self.open
        while order and order[0] not in waiting:
            order.popleft()
        return order[0] if order else self.next

    @property
    def ahead(self) -> int:
        """How many offsets were read beyond the one to commit."""
        position = self.position
        return 0 if position is None or self.next is None else self.next - position


class Offsets:
    """The partitions that are read now, by place."""

    def __init__(self) -> None:
        self._partitions: dict[Hashable, Partition] = {}

    def __iter__(self) -> Iterator[tuple[Any, Partition]]:
        return iter(self._partitions.items())

    def of(self, place: Hashable) -> Partition:
        """Give a partition, a new one if it is not read yet."""
        partition = self._partitions.get(place)
        if partition is None:
            partition = self._partitions[place] = Partition()
        return partition

    def drop(self, place: Hashable) -> None:
        """Forget a partition that another member has, or that is read from another offset."""
        self._partitions.pop(place, None)

    def due(self) -> dict[Any, int]:
        """Give the offsets to commit that are not committed yet, by place."""
        found = {}
        for place, partition in self._partitions.items():
            position = partition.position
            if position is not None and position != partition.committed:
                found[place] = position
        return found

    def committed(self, offsets: dict[Any, int]) -> None:
        """Note which offsets were committed."""
        for place, position in offsets.items():
            if place in self._partitions:
                self._partitions[place].committed = position
