"""The router: which lanes an event's profile leads to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evbus_like.engine.errors import BadEvent
from evbus_like.engine.sending.lane import Lane
from evbus_like.engine.sending.serializer import Serializer

Matches = Callable[[str], bool]


@dataclass(frozen=True)
class Entry:
    """One profile: its lane, its serializer, and the test that an event's profile must pass."""

    matches: Matches
    lane: Lane
    serializer: Serializer


class Route:
    """The lanes of one event profile, grouped by serializer so that each dumps a body once."""

    __slots__ = ("groups", "lanes", "names", "plain", "quick", "sole")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.lanes = tuple(entry.lane for entry in entries)
        self.names = tuple(lane.name for lane in self.lanes)
        self.plain = all(lane.plain for lane in self.lanes)  # whether every lane simply takes events in
        grouped: dict[str, tuple[Serializer, list[Lane]]] = {}
        for entry in entries:
            grouped.setdefault(entry.serializer.name, (entry.serializer, []))[1].append(entry.lane)
        self.groups = tuple((serializer, tuple(lanes)) for serializer, lanes in grouped.values())
        self.sole = self.groups[0][0] if len(self.groups) == 1 else None  # the serializer, where there is but one
        self.quick = self.sole is not None and self.plain  # whether runs of its events can be handed over together


class Router:
    """Finds routes, and remembers them by name: 10,000 patterns are tried once for a name, not once for an event."""

    def __init__(self, entries: Sequence[Entry], max_cached: int = 10_000) -> None:
        self.entries = tuple(entries)
        self.max_cached = max_cached
        self.cache: dict[str, Route] = {}
        self._failed: dict[str, str] = {}  # names whose route cannot be told, and why: that may have taken long

    def route(self, profile: str) -> Route:
        """Give the route of an event profile; raises BadEvent where a match plugin fails."""
        found = self.cache.get(profile)
        if found is None:
            if profile in self._failed:
                raise BadEvent(self._failed[profile])
            try:
                found = Route([entry for entry in self.entries if _matches(entry, profile)])
            except BadEvent as error:
                if len(self._failed) >= self.max_cached:
                    self._failed.clear()
                self._failed[profile] = str(error)
                raise
            if len(self.cache) >= self.max_cached:
                self.cache.clear()  # names made up by the thousand: start again rather than grow
            self.cache[profile] = found
        return found


def _matches(entry: Entry, profile: str) -> bool:
    try:
        return entry.matches(profile)
    except Exception as error:
        raise BadEvent(
            f"{entry.lane.name} cannot say whether it matches {profile[:100]!r}: {type(error).__name__}: {error}"
        ) from error
