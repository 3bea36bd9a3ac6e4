"""Which rows a relay has read, and where rows may still appear behind the last one.

An id is given when a row is inserted, and the row is seen when its transaction commits: `id > last` alone would miss
those that commit late. So rows at or below the last id are looked for too, from a floor. The floor rises when every
transaction that can have an id below it has ended: those that ran when the floor's candidate was noted, a second after
its ids were given (a transaction takes its number at its first insert, just after its first id). A transaction that is
held open elsewhere keeps the floor where it is, and stops nothing. The floor is kept with the lease, so that a relay
does not begin by going over all the dead rows that vacuum has not removed yet. Every minute all is looked through, from
the beginning: a row that came even later, in an order that should not be, is delivered then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

from evbus_like.postgres.rows import Done, Key, Row

NOTE_EVERY = 1.0  # seconds between two candidates of the floor; the age at which one counts
ALL_EVERY, ALL_SHARE = (
    60.0,
    100,
)  # seconds between two looks from the beginning, and how many times as long as one takes
ALL_AGAIN = 3600.0  # seconds after one that did not end
PART = itemgetter(0)


class Progress:
    """The rows of the parts of one relay; those that were read and are not deleted are known."""

    def __init__(self) -> None:
        self.lasts: dict[int, int] = {}  # of each part, the last id that was read
        self.floors: dict[int, int] = {}
        self._known: dict[int, dict[int, str]] = {}  # of each part the event ids, by id
        self._gone: dict[int, dict[int, str]] = {}  # those deleted since the latest read began, which may see them
        self._noted: tuple[float, dict[int, int]] | None = None  # when, and the last ids then
        self._candidate: tuple[int, dict[int, int]] | None = None  # the next transaction then, and the last ids
        self._all_due = 0.0

    @property
    def known(self) -> int:
        """How many rows are known."""
        return sum(map(len, self._known.values()))

    def known_of(self, part: int) -> int:
        """Return how many rows of a part are known."""
        return len(self._known.get(part, ()))

    def own(self, parts: Mapping[int, int]) -> set[int]:
        """Read these parts, from their floors on, and no others from now on; returns those that were lost."""
        lost = self.lasts.keys() - parts.keys()
        for part in lost:
            self.lasts.pop(part)
            self.floors.pop(part, None)
        for part, floor in parts.items():
            self.lasts.setdefault(part, floor)
            self.floors.setdefault(part, floor)
        return lost

    def safe_floors(self) -> dict[int, int]:
        """Return where another relay may begin: the floors, but below every row that is not deleted yet."""
        least = {part: min(known) for part, known in self._known.items() if known}
        return {part: min(floor, least.get(part, floor + 1) - 1) for part, floor in self.floors.items()}

    def restart(self) -> None:
        """Read everything again, because the connection, and so perhaps the database, is another one."""
        self.lasts.clear()
        self.floors.clear()
        self._noted = self._candidate = None

    def take(self, rows: Sequence[Row], late: bool = False) -> list[Row]:
        """Note rows that were read, and return those that are new."""
        fresh: list[Row] = []
        for part, run in groupby(rows, PART):
            found = list(run)
            known, gone = self._known.setdefault(part, {}), self._gone.get(part, {})
            if not late:  # of each part in the order of ids
                self.lasts[part] = found[-1][1]
            ids = [row[1] for row in found]
            if not (known.keys().isdisjoint(ids) and gone.keys().isdisjoint(ids)):
                found = [row for row in found if row[2] not in (known.get(row[1]), gone.get(row[1]))]
            known.update(zip([row[1] for row in found], [row[2] for row in found], strict=True))
            fresh += found
        return fresh

    def begin_read(self) -> None:
        """Note that a read begins: what is deleted from now on may be seen by it."""
        self._gone.clear()

    def unknown(self, keys: Iterable[Key]) -> list[Key]:
        """Return the keys of rows that were not read."""
        return [key for key in keys if self._known.get(key[0], {}).get(key[1]) != key[2]]

    def forget(self, keys: Iterable[Key]) -> None:
        """Forget rows that are deleted, or belong to another relay."""
        self.forget_done(columns(keys))

    def forget_done(self, done: Done) -> None:
        """Forget rows that are deleted."""
        for part, (ids, names) in done.items():
            known = self._known.get(part, {})
            self._gone.setdefault(part, {}).update(zip(ids, names, strict=True))
            for id_, name in zip(ids, names, strict=True):
                if known.get(id_) == name:  # a restored database may have given its id to another
                    del known[id_]
            if not known:
                self._known.pop(part, None)

    # ---- late rows

    def begin_look(self, now: float) -> dict[int, int]:
        """Return the floors for a look at late rows that begins now."""
        if now >= self._all_due:
            self._all_due = now + ALL_AGAIN  # unless this look ends
            return {}
        return dict(self.floors)

    def end_look(self, began: float, now: float, oldest: int, newest: int, whole: bool) -> None:
        """Raise the floor, if that can be; `whole` is whether the look found all late rows.

        `oldest` and `newest` are of the snapshot of the look.
        """
        if self._all_due >= began + ALL_AGAIN:
            self._all_due = now + max(ALL_EVERY, ALL_SHARE * (now - began))
        if whole and self._candidate is not None and oldest >= self._candidate[0]:
            for part, last in self._candidate[1].items():
                if part in self.lasts:
                    self.floors[part] = max(self.floors.get(part, 0), min(last, self.lasts[part]))
            self._candidate = None
        if self._noted is None:
            self._noted = now, dict(self.lasts)
        elif self._candidate is None and now - self._noted[0] >= NOTE_EVERY:
            self._candidate = newest, self._noted[1]
            self._noted = None


def columns(keys: Iterable[Key]) -> Done:
    """Return keys by part."""
    done: Done = {}
    for part, id_, name in keys:
        ids, names = done.setdefault(part, ([], []))
        ids.append(id_)
        names.append(name)
    return done
