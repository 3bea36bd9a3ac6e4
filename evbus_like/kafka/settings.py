"""The settings of a source: the options of a profile for reading, and the keywords of aiokafka's consumer."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evbus_like.engine.errors import ProfileError
from evbus_like.kafka.connection import address, keywords
from evbus_like.kafka.topics import TOPIC_NAME

# The keywords of a profile's connection that consumers take as well.
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
HOST = "{host}"  # stands for the name of this machine in a group_instance_id
COMMIT_WAIT = 3.0  # seconds that one commit may take
NEVER = 2**31 - 1  # milliseconds, 24 days
FETCH_BYTES = 8 * 1024 * 1024  # the size of one broker's answer, about; as much is read ahead of the handlers


@dataclass
class QueueState:
    """What a source remembers of a queue from one feed to the next.

    `late_topics` did not exist at first, and are read from their beginning. `opened` says that a feed was open.
    `positions` are where a reader without a group continues, for which Kafka keeps no offsets.
    """

    late_topics: set[str] = field(default_factory=set)
    opened: bool = False
    positions: dict[Any, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """How to read; `timeout` and `session` (after which a silent worker loses its partitions) are seconds."""

    connection: Mapping[str, Any]
    address: str
    topics: tuple[str, ...]
    timeout: float
    session: float
    instance: str | None = None  # the id of a static member; None: members are known only while they are connected
    rack: str | None = None
    states: dict[str, QueueState] = field(default_factory=dict)  # by queue
    reported_missing: set[str] = field(default_factory=set)  # topics that the log has reported as missing

    @property
    def drain(self) -> float:
        """Seconds that a rebalance waits for running handlers.

        It is less than the timeout of a member that waits to join, which would give up and start over each time.
        """
        return self.timeout / 2

    @property
    def rebalance(self) -> float:
        """Seconds within which a member must rejoin when others come or go."""
        return self.drain + 2 * COMMIT_WAIT + 4.0

    def consumer(self, group: str | None, static: bool = False) -> dict[str, Any]:
        """Give the keywords of an AIOKafkaConsumer; `group` is None for a consumer without a group."""
        request = max(self.connection.get("request_timeout_ms") or 40_000, int((self.rebalance + 5) * 1000))
        return {
            **self.connection,
            "group_id": group,
            "group_instance_id": self.instance if static and group else None,
            "client_rack": self.rack,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",  # `since` says where to begin, and lost offsets are reported
            "isolation_level": "read_committed",
            "request_timeout_ms": request,  # a request to join is answered when the slowest member has joined
            "session_timeout_ms": int(self.session * 1000),
            "heartbeat_interval_ms": int(self.session * 200),
            "rebalance_timeout_ms": int(self.rebalance * 1000),
            # aiokafka leaves its group after this time without a poll. Slow handlers are no reason to leave.
            "max_poll_interval_ms": NEVER,
            "fetch_max_bytes": FETCH_BYTES,
        }


def settings(acct: Mapping[str, Any], worker: int | None = None) -> Settings:
    """Give the settings of a profile; raises ProfileError. `worker` is the number of this worker of a supervisor."""
    given = keywords(acct)
    topics = acct.get("topics")
    return Settings(
        connection={name: given[name] for name in SHARED if given.get(name) is not None},
        address=address(given),
        topics=(topics,) if isinstance(topics, str) else tuple(topics or ()),
        timeout=float(acct.get("timeout") or TIMEOUT),
        session=float(acct.get("session_timeout") or SESSION),
        instance=_instance(acct.get("group_instance_id"), worker),
        rack=acct.get("client_rack"),
    )


def _instance(given: str | None, worker: int | None) -> str | None:
    """Give the id of a static member: that of the profile, for this machine and for this worker."""
    if given is None:
        return None
    name = given.replace(HOST, socket.gethostname()) + (f"-{worker}" if worker is not None else "")
    if not TOPIC_NAME.fullmatch(name):
        raise ProfileError(
            f"group_instance_id makes {name[:300]!r} here, and an id has letters, digits, '.', '_' and '-', 249 at"
            f" most; {HOST} in it stands for the name of the machine"
        )
    return name
