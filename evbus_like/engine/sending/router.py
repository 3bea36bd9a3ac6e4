"""The router: which lanes get the events of a profile name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evbus_like.engine.errors import BadEvent
from evbus_like.engine.event import Event, header_bytes
from evbus_like.engine.expiry import CHECKED, EXPIRES, PRIORITY, with_defaults
from evbus_like.engine.foreign import text_of
from evbus_like.engine.sending.lane import NO_LIMIT, Lane
from evbus_like.engine.sending.serializer import Serializer
from evbus_like.engine.sending.swapped import PROFILE, Swapped

Matches = Callable[[str], bool]
SHORT_KEY = 255  # characters


@dataclass(frozen=True)
class Entry:
    """One profile: its lane, its serializer, and whether it matches an event's profile name."""

    matches: Matches
    lane: Lane
    serializer: Serializer


class Route:
    """The lanes of one profile name, grouped so that each serializer serializes a body once.

    Lanes whose profiles give events an expiry or a priority of their own are groups of their own.
    """

    __slots__ = (
        "ask_above",
        "direct",
        "gives_options",
        "groups",
        "lanes",
        "max_event_bytes",
        "names",
        "quick",
        "sole",
        "stores",
        "swapped",
        "watched",
    )

    def __init__(self, entries: Sequence[Entry], others: Sequence[Entry] = ()) -> None:
        self.lanes = tuple(entry.lane for entry in entries)
        self.names = tuple(lane.name for lane in self.lanes)
        self.max_event_bytes = min((lane.max_event_bytes for lane in self.lanes), default=0)
        self.ask_above = min((lane.asks.above for lane in self.lanes if lane.asks is not None), default=None)
        self.direct = all(lane.direct for lane in self.lanes)  # whether events go straight into every lane
        grouped: dict[Any, tuple[Serializer, list[Lane]]] = {}
        for entry in entries:
            own = entry.lane.options.expires, entry.lane.options.priority
            grouped.setdefault((entry.serializer.name, own), (entry.serializer, []))[1].append(entry.lane)
        self.gives_options = any(own != (None, None) for _, own in grouped)
        self.groups = tuple((serializer, tuple(lanes)) for serializer, lanes in grouped.values())
        self.sole = self.groups[0][0] if len(self.groups) == 1 else None  # the only serializer, if there is one only
        # The only lane, if it stores all its events:
        alone = self.lanes[0] if len(self.lanes) == 1 and not self.gives_options else None
        self.stores = alone if alone is not None and alone.options.durable else None
        # Whether several events can be added at once:
        self.quick = self.sole is not None and self.direct and not self.gives_options
        self.swapped = Swapped([entry.matches for entry in others]) if others else None
        self.watched = self.swapped is not None or self.ask_above is not None  # whether events are looked at

    @staticmethod
    def headers_for(event: Event, given: Mapping[str, Any] | None, lanes: Sequence[Lane]) -> dict[str, Any] | None:
        """Return the headers of an event for the lanes of one group; `given` are those that it was put with."""
        options = lanes[0].options
        return with_defaults(given, options.expires, options.priority, event.timestamp)

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
        reserved = frozenset(name for lane in lanes for name in lane.options.reserved_headers)
        self.looked_at = reserved | CHECKED  # names of headers, for `check_headers`
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
                found = self._route(profile)
            except BadEvent as error:
                if len(self._failed) >= self.max_cached:
                    self._failed.clear()
                self._failed[profile] = str(error)
                raise
            if len(self.cache) >= self.max_cached:
                self.cache.clear()  # thousands of invented names: start again rather than grow
            self.cache[profile] = found
        return found

    def _route(self, profile: str) -> Route:
        matching = [_matches(entry, profile) for entry in self.entries]
        others = [entry for entry, does in zip(self.entries, matching, strict=True) if not does]
        entries = [entry for entry, does in zip(self.entries, matching, strict=True) if does]
        return Route(entries, others if profile == PROFILE else ())

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
            if PRIORITY in headers and not lane.options.takes_priority:
                raise BadEvent(
                    f"{lane.name} has no priorities: put without priority=, or to a profile of RabbitMQ alone"
                )
            if EXPIRES in headers:
                lane.look_for_expired()


def _matches(entry: Entry, profile: str) -> bool:
    try:
        return entry.matches(profile)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise BadEvent(
            f"{entry.lane.name} cannot say whether it matches {profile[:100]!r}: {text_of(error)}"
        ) from error
