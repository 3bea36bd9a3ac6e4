"""Refusals: why a profile's topics do not take an event, as far as that is known when it is put."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from evbus_like.engine.event import MAX_ROUTING_KEY, Event
from evbus_like.kafka import topics
from evbus_like.kafka.plan import KEY_NEEDED, NO_KEY, Planner

Ask = Callable[[Callable[[Event], "str | None"], int], None]
NOT_BODY = 4096  # bytes of a record beside its body, at most, if it has no headers and a key that is not long


class Refusals:
    """What puts ask about the events of one profile.

    `ask` is called with the function, and with the size of a body up to which a plain event fits into every topic.
    """

    def __init__(self, planner: Planner, ask: Ask, acct: Mapping[str, Any]) -> None:
        self._planner = planner
        self._ask = ask
        self._compresses = bool((acct.get("connection") or {}).get("compression_type"))
        self._fits: dict[str, int] = {}  # the bytes of a plain event's body that fit, by routing key
        self._above: int | None = None
        planner.rules.learnt = self.learnt
        self.learnt()

    def learnt(self) -> None:
        """Take over what Kafka has said of its topics."""
        self._fits.clear()
        named = self._planner.topics
        above = self._room(named) if named else -1  # without names, each event chooses its topic
        if above != self._above:
            self._above = above
            self._ask(self.refuse, above)

    def refuse(self, event: Event) -> str | None:
        """Say why Kafka does not take an event; its body is serialized."""
        plain = event.headers is None and event.key is None
        if plain and len(event.body) <= self._fits.get(event.routing_key, -1):
            return None
        planner = self._planner
        key = planner.key_of(event)
        if key is None and planner.is_tombstone(event):
            return NO_KEY
        places = planner.topics or (planner.topic(event),)
        why = next((why for topic in places if (why := self._why(event, key, topic))), None)
        if plain and why is None:
            if len(self._fits) >= topics.MAX_TOPICS:
                self._fits.clear()
            self._fits[event.routing_key] = self._room(places) if key is not None else -1
        return why

    def _why(self, event: Event, key: bytes | None, topic: str) -> str | None:
        if not self._planner.topics and (wrong := topics.wrong_name(topic)):
            return wrong
        rules = self._planner.rules.lately(topic)
        if rules.needs_key and key is None:
            return f"topic {topic!r} is compacted: {KEY_NEEDED}"
        if rules.max_bytes is not None and not self._compresses:
            size = self._planner.size_of(event, key)
            if size > rules.max_bytes:
                return topics.too_large(size, topic, rules.max_bytes)
        return None

    def _room(self, places: tuple[str, ...]) -> int:
        """Give the bytes of a plain event's body that fit into these topics, -1 if it depends on the event."""
        rules = [self._planner.rules.of(topic) for topic in places]
        if self._planner.has_tombstones or (any(each.needs_key for each in rules) and self._planner.key is None):
            return -1
        sizes = [each.max_bytes for each in rules if each.max_bytes is not None and not self._compresses]
        return max(-1, min(sizes, default=2**31) - NOT_BODY - 2 * MAX_ROUTING_KEY)
