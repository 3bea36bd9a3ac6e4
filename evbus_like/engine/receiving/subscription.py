"""A subscription: what a handler asks of a source, and how its queue is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evbus_like.engine.receiving.patterns import matches

SERVICE_POOL = "service_pool"  # one instance of each service and handler gets an event
SINGLETON = "singleton"  # one handler in all gets an event
BROADCAST = "broadcast"  # every instance gets every event
DELIVERIES = (SERVICE_POOL, SINGLETON, BROADCAST)


@dataclass(frozen=True)
class Subscription:
    """Events of a source service, for one handler.

    `service` and `name` are the handler's, `source` the service whose events it wants, `event_types` which of them
    (patterns of AMQP's topic exchanges too). A `reliable` one keeps events while nobody receives. `prefetch` bounds the
    events that were received and not settled. `since` is where a new subscription begins, where the source can rewind:
    "earliest", "latest", a number (an offset) or a datetime. `identifier` tells the instances of a broadcast apart.
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

    @property
    def exchange(self) -> str:
        """The exchange, or topic, of the source service's events, as nameko names it."""
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
        """Whether the queue goes with its last consumer."""
        return not self.reliable

    @property
    def exclusive(self) -> bool:
        """Whether no other connection may use the queue."""
        return self.delivery == BROADCAST and not self.reliable

    @property
    def expires(self) -> float | None:
        """Seconds after which the queue goes when nobody reads it; None: never."""
        return None

    @property
    def of_calls(self) -> bool:
        """Whether it is for requests or answers, whose exchange is no service's own."""
        return False

    @property
    def dead(self) -> str:
        """The name of the queue, or topic, for events that were given up."""
        return f"{self.queue}.dead"

    def wants(self, event_type: str) -> bool:
        """Whether an event type is among those asked for; for sources that cannot choose by themselves."""
        return any(matches(wanted, event_type) for wanted in self.event_types)
