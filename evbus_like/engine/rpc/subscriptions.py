"""The queues of calls, exactly as nameko names them (nameko 2.14, nameko/rpc.py)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from evbus_like.engine.receiving.subscription import Subscription

EXCHANGE = "nameko-rpc"  # nameko's setting rpc_exchange
REPLY_TTL = 300.0  # seconds until a reply queue that nobody reads is removed
AHEAD = 2  # requests received for each worker: as many run as wait for the confirms of their answers


@dataclass(frozen=True)
class OfCalls(Subscription):
    """A queue of calls: one exchange carries all requests and answers."""

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
    """The answers to one instance's calls; the queue survives a lost connection, and expires when nobody reads it."""

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
    """The answers for handlers; all instances of the application share the queue, which survives them."""

    @property
    def queue(self) -> str:
        """The application's queue, which is bound by its own name."""
        return responses_queue(self.service)


def responses_queue(service: str) -> str:
    """Return the queue and routing key of answers for the handlers of an application."""
    return f"rpc.responses-{service}"


def responses(service: str, exchange: str, prefetch: int = 10) -> Responses:
    """Return the subscription for answers that handlers get."""
    queue = responses_queue(service)
    return Responses(service, (queue,), service, "responses", prefetch=prefetch, rpc_exchange=exchange)


def requests(service: str, exchange: str, max_workers: int) -> Requests:
    """Return the subscription for the requests to a service."""
    return Requests(service, (f"{service}.*",), service, "rpc", prefetch=AHEAD * max_workers, rpc_exchange=exchange)


def replies(caller: str, exchange: str, prefetch: int = 1000) -> Replies:
    """Return the subscription for the answers to one instance; its identifier is their routing key."""
    own = str(uuid.uuid4())
    return Replies(caller, (own,), caller, "replies", prefetch=prefetch, identifier=own, rpc_exchange=exchange)
