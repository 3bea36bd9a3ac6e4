"""A subscription: the events that a handler wants from a source, and the name of its queue."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SERVICE_POOL = "service_pool"  # one instance of each service and handler gets an event
SINGLETON = "singleton"  # one handler in all gets an event
BROADCAST = "broadcast"  # every instance gets every event
DELIVERIES = (SERVICE_POOL, SINGLETON, BROADCAST)


@dataclass(frozen=True)
class Subscription:
    """Events of a source service, for one handler.

    `service` and `name` are the handler's; `source` is the service whose events it wants, `event_types` are their types
    or patterns of AMQP's topic exchanges. A `reliable` subscription keeps events while nobody receives. `prefetch`
    limits the unsettled events. `since` is where a new subscription begins, if the source can rewind: "earliest",
    "latest", an offset or a datetime. `identifier` distinguishes the instances of a broadcast. With `shards`, events of
    one key are handled one after another in the whole cluster; 0 is without. With `max_priority`, events of a higher
    priority come first; 0 is without.
    """

    source: str
    event_types: tuple[str, ...]
    service: str
    name: str
    delivery: str = SERVICE_POOL
    reliable: bool = True
    prefetch: int = 10
    since: Any = None
    identifier: str = ""
    shards: int = 0
    max_priority: int = 0

    @property
    def exchange(self) -> str:
        """The exchange or topic of the source service's events, named as in nameko."""
        return f"{self.source}.events"

    @property
    def queue(self) -> str:
        """The name of the queue, or consumer group (nameko 2.14, nameko/events.py, EventHandler.setup)."""
        events = "+".join(self.event_types)
        if self.delivery == SINGLETON:
            return f"evt-{self.source}-{events}"
        pool = f"evt-{self.source}-{events}--{self.service}.{self.name}"
        return f"{pool}-{self.identifier}" if self.delivery == BROADCAST else pool

    @property
    def auto_delete(self) -> bool:
        """Whether the queue is deleted with its last consumer."""
        return not self.reliable

    @property
    def exclusive(self) -> bool:
        """Whether no other connection may use the queue."""
        return self.delivery == BROADCAST and not self.reliable

    @property
    def expires(self) -> float | None:
        """Seconds without readers after which the queue is deleted; None for never."""
        return None

    @property
    def of_calls(self) -> bool:
        """Whether it is for requests or answers, which share one exchange."""
        return False

    @property
    def dead(self) -> str:
        """The name of the queue or topic of dead letters."""
        return f"{self.queue}.dead"

    def wants(self, event_type: str) -> bool:
        """Whether an event type is wanted, for sources that cannot filter by themselves."""
        return event_type in self.event_types or any(matches(each, event_type) for each in self._patterns)

    @functools.cached_property
    def _patterns(self) -> list[str]:
        """The patterns: a new event type is compared with all subscriptions, and few of a thousand have one."""
        return [each for each in self.event_types if is_pattern(each)]


def is_pattern(event_type: str) -> bool:
    """Whether an event type is a pattern: `*` matches one word between dots, `#` any number of words."""
    return not {"*", "#"}.isdisjoint(event_type.split("."))


@functools.lru_cache(maxsize=10_000)
def matches(pattern: str, event_type: str) -> bool:
    """Whether a pattern matches an event type (AMQP 0-9-1 specification, 3.1.3.3)."""
    return pattern == event_type or _match(pattern.split("."), event_type.split(".") if event_type else [])


def _match(pattern: Sequence[str], words: Sequence[str]) -> bool:
    """Let the latest `#` match more and more words; takes at most as many steps as the product of both lengths."""
    at = word = first = 0
    rest = -1  # what follows the latest `#`, which takes the words up to `first`
    while word < len(words):
        if at < len(pattern) and pattern[at] == "#":
            at += 1
            rest, first = at, word
        elif at < len(pattern) and pattern[at] in ("*", words[word]):
            at, word = at + 1, word + 1
        elif rest >= 0:
            first += 1
            at, word = rest, first
        else:
            return False
    return all(left == "#" for left in pattern[at:])
