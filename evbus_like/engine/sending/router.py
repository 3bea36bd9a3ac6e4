"""The router: which lanes get the events of a profile name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evbus_like.engine.errors import BadEvent
from evbus_like.engine.event import Event, header_bytes
from evbus_like.engine.sending.lane import NO_LIMIT, Lane
from evbus_like.engine.sending.serializer import Serializer

Matches = Callable[[str], bool]
SHORT_KEY = 255  # characters


@dataclass(frozen=True)
class Entry:
    """One profile: its lane, its serializer, and whether it matches an event's profile name."""

    matches: Matches
    lane: Lane
    serializer: Serializer


class Route:
    """The lanes of one profile name, grouped by serializer so that each serializes a body once."""

    __slots__ = ("ask_above", "direct", "groups", "lanes", "max_event_bytes", "names", "quick", "sole")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.lanes = tuple(entry.lane for entry in entries)
        self.names = tuple(lane.name for lane in self.lanes)
        self.max_event_bytes = min((lane.max_event_bytes for lane in self.lanes), default=0)
        self.ask_above = min((lane.asks.above for lane in self.lanes if lane.asks is not None), default=None)
        self.direct = all(lane.direct for lane in self.lanes)  # whether events go straight into every lane
        grouped: dict[str, tuple[Serializer, list[Lane]]] = {}
        for entry in entries:
            grouped.setdefault(entry.serializer.name, (entry.serializer, []))[1].append(entry.lane)
        self.groups = tuple((serializer, tuple(lanes)) for serializer, lanes in grouped.values())
        self.sole = self.groups[0][0] if len(self.groups) == 1 else None  # the only serializer, if there is one only
        self.quick = self.sole is not None and self.direct  # whether several events can be added at once

    def ask(self, event: Event, body: bytes, serializer: Serializer, lanes: Sequence[Lane]) -> None:
        """Raise BadEvent if one of these lanes' destinations does not take an event with this body.

        Those of small events without headers and with a short key are not asked.
        """
        assert self.ask_above is not None
        key = event.key
        if len(body) <= self.ask_above and event.headers is None and (key is None or len(key) <= SHORT_KEY):
            return
        raw, event.body, event.content_type = event.body, body, serializer.content_type
        why = [(lane.name, lane.asks.refuse(event)) for lane in lanes if lane.asks is not None]
        event.body = raw
        for name, problem in why:
            if problem:
                raise BadEvent(f"{name} does not take the event: {problem}")


class Router:
    """Finds routes and caches them by name: 10,000 patterns are tried once for a name, not for every event."""

    def __init__(self, entries: Sequence[Entry], max_cached: int = 10_000) -> None:
        self.entries = tuple(entries)
        self.max_cached = max_cached
        self.cache: dict[str, Route] = {}
        lanes = [entry.lane for entry in self.entries]
        self.max_header_bytes = min((lane.max_header_bytes for lane in lanes), default=NO_LIMIT)  # of any lane
        self.reserved = frozenset(name for lane in lanes for name in lane.options.reserved_headers)
        for lane in lanes:
            lane.on_asks = self.cache.clear
        self._failed: dict[str, str] = {}  # names whose route is unknown, and why; finding out may be slow

    def route(self, profile: str) -> Route:
        """Return the route of a profile name; raises BadEvent if a match plugin fails."""
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
                self.cache.clear()  # thousands of invented names: start again rather than grow
            self.cache[profile] = found
        return found

    def check_headers(self, profile: str, headers: Mapping[str, Any], size: int) -> None:
        """Raise BadEvent if a destination of the profile does not take these headers; `size` is their bytes."""
        for lane in self.route(profile).lanes:
            if size > lane.max_header_bytes:
                name = max(headers, key=lambda each: header_bytes(each, headers[each]))
                raise BadEvent(
                    f"the headers are {size} bytes together, {header_bytes(name, headers[name])} of them in {name!r},"
                    f" and {lane.name} takes at most {lane.max_header_bytes}: put large values into the body"
                )
            for name in lane.options.reserved_headers:
                if name in headers:
                    raise BadEvent(f"header {name!r} is reserved by {lane.name}, which acts on it: use another name")


def _matches(entry: Entry, profile: str) -> bool:
    try:
        return entry.matches(profile)
    except Exception as error:
        raise BadEvent(
            f"{entry.lane.name} cannot say whether it matches {profile[:100]!r}: {type(error).__name__}: {error}"
        ) from error
