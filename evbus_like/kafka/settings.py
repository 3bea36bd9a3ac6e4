"""The settings of a source: what of a profile concerns reading, as aiokafka's consumer wants it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evbus_like.kafka.connect import keywords, place

# Of the keywords of a profile's connection, those that a consumer has too.
SHARED = (
    "bootstrap_servers",
    "client_id",
    "security_protocol",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
    "sasl_kerberos_service_name",
    "sasl_kerberos_domain_name",
    "ssl_context",
    "request_timeout_ms",
    "retry_backoff_ms",
    "metadata_max_age_ms",
    "connections_max_idle_ms",
)
TIMEOUT = 30.0
SESSION = 10.0
COMMIT_WAIT = 3.0  # seconds that one commit may take
NEVER = 2**31 - 1  # milliseconds, 24 days
FETCH_BYTES = 8 * 1024 * 1024  # that one answer of one broker holds, about; as much is kept ahead of the handlers


@dataclass
class Memory:
    """What is known of a queue while the source lives, from one feed to the next.

    `awaited` are topics that did not exist at first: they are read from their beginning. `begun` says that a feed was
    open. `positions` are where a reader without a group goes on, whom Kafka keeps no place for.
    """

    awaited: set[str] = field(default_factory=set)
    begun: bool = False
    positions: dict[Any, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """How to read. `timeout` is the profile's; a worker that is silent for `session` seconds loses its partitions."""

    connection: Mapping[str, Any]
    place: str
    topics: tuple[str, ...]
    timeout: float
    session: float
    memories: dict[str, Memory] = field(default_factory=dict)  # by queue
    told: set[str] = field(default_factory=set)  # topics that do not exist, as the log has said

    @property
    def drain(self) -> float:
        """Seconds that a rebalance waits for handlers under way.

        Less than the timeout of whoever waits to join meanwhile: else it would give up each time, and begin anew.
        """
        return self.timeout / 2

    @property
    def rebalance(self) -> float:
        """Seconds within which a member must join anew when others come or go."""
        return self.drain + 2 * COMMIT_WAIT + 4.0

    def consumer(self, group: str | None) -> dict[str, Any]:
        """Give the keywords of an AIOKafkaConsumer; None is a consumer without a group."""
        request = max(self.connection.get("request_timeout_ms") or 40_000, int((self.rebalance + 5) * 1000))
        return {
            **self.connection,
            "group_id": group,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",  # we say where to begin, and hear of what is gone
            "isolation_level": "read_committed",
            "request_timeout_ms": request,  # a request to join is answered when the slowest member has joined
            "session_timeout_ms": int(self.session * 1000),
            "heartbeat_interval_ms": int(self.session * 200),
            "rebalance_timeout_ms": int(self.rebalance * 1000),
            # aiokafka leaves its group when nobody asked it for records for so long. Slow handlers are no reason to.
            "max_poll_interval_ms": NEVER,
            "fetch_max_bytes": FETCH_BYTES,
        }


def settings(acct: Mapping[str, Any]) -> Settings:
    """Give the settings of a profile; raises ProfileError."""
    given = keywords(acct)
    topics = acct.get("topics")
    return Settings(
        connection={name: given[name] for name in SHARED if given.get(name) is not None},
        place=place(given),
        topics=(topics,) if isinstance(topics, str) else tuple(topics or ()),
        timeout=float(acct.get("timeout") or TIMEOUT),
        session=float(acct.get("session_timeout") or SESSION),
    )
