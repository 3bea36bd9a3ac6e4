"""The queues of calls, exactly as nameko names them (nameko 2.14, nameko/rpc.py)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from evbus_like.engine.receiving.subscription import Subscription

EXCHANGE = "nameko-rpc"  # nameko's setting rpc_exchange
REPLY_TTL = 300.0  # seconds until a reply queue that nobody reads is removed
AHEAD = 2  # requests received for each that is answered: as many run as wait for the confirms of their answers


@dataclass(frozen=True)
class OfCalls(Subscription):
    """What the queues of calls have in common: one exchange for all requests and answers."""

    rpc_exchange: str = EXCHANGE

    @property
    def exchange(self) -> str:
        """The exchange of all requests and answers."""
        return self.rpc_exchange

    @property
    def of_calls(self) -> bool:
        """True."""
        return True


@dataclass(frozen=True)
class Requests(OfCalls):
    """The requests to a service; all its instances share one queue."""

    @property
    def queue(self) -> str:
        """The service's queue."""
        return f"rpc-{self.service}"


@dataclass(frozen=True)
class Replies(OfCalls):
    """The answers to one instance's calls; the queue outlives a lost connection, and expires when nobody reads it."""

    @property
    def queue(self) -> str:
        """The instance's own queue."""
        return f"rpc.reply-{self.service}-{self.identifier}"

    @property
    def expires(self) -> float | None:
        """nameko's time."""
        return REPLY_TTL


@dataclass(frozen=True)
class Responses(OfCalls):
    """The answers that go to handlers; all instances of the application share the queue, which outlives them."""

    @property
    def queue(self) -> str:
        """The application's queue, which is bound by its own name."""
        return responses_queue(self.service)


def responses_queue(service: str) -> str:
    """Give the queue, and the routing key, of answers that go to the handlers of an application."""
    return f"rpc.responses-{service}"


def responses(service: str, exchange: str, prefetch: int = 10) -> Responses:
    """Give the subscription for answers that go to handlers."""
    queue = responses_queue(service)
    return Responses(service, (queue,), service, "responses", prefetch=prefetch, rpc_exchange=exchange)


def requests(service: str, exchange: str, max_workers: int) -> Requests:
    """Give the subscription of a service."""
    return Requests(service, (f"{service}.*",), service, "rpc", prefetch=AHEAD * max_workers, rpc_exchange=exchange)


def replies(caller: str, exchange: str, prefetch: int = 1000) -> Replies:
    """Give the subscription for answers of one instance; its identifier is the routing key of the answers."""
    own = str(uuid.uuid4())
    return Replies(caller, (own,), caller, "replies", prefetch=prefetch, identifier=own, rpc_exchange=exchange)
