"""A handler: a function and how it wants its events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from evbus_like.engine.event import plain
from evbus_like.engine.receiving.subscription import DELIVERIES, SERVICE_POOL
from evbus_like.engine.suggest import shown

RETRY = "retry"  # again after a backoff, `attempts` times; then to the dead letters
REQUEUE = "requeue"  # back to the source, which gives it again, for ever
ACK_AND_LOG = "ack_and_log"  # the error is logged, the event is done
SHUTDOWN = "shutdown"  # the worker stops with exit code 1; the event comes again when it is started
REJECT = "reject"  # to the dead letters at once
ON_ERROR = (RETRY, REQUEUE, ACK_AND_LOG, SHUTDOWN, REJECT)
MOST = 2**31 - 1  # events, attempts, or seconds
NUMBERS: dict[str, Any] = {
    "attempts": int,
    "backoff": (int, float),
    "max_backoff": (int, float),
    "max_workers": int,
    "prefetch": int,
    "timeout": (int, float),
}


@dataclass(frozen=True)
class HandlerOptions:
    """The options of `evbus_like.handlers.handler`; its docstring explains them."""

    source: str
    event_types: tuple[str, ...]
    name: str = ""
    profile: str = "default"
    delivery: str = SERVICE_POOL
    reliable: bool = True
    on_error: str = RETRY
    attempts: int = 5
    backoff: float = 1.0
    max_backoff: float = 60.0
    expected_exceptions: tuple[type[BaseException], ...] = ()
    sensitive: tuple[str, ...] = ()
    broadcast_identifier: str | None = None
    max_workers: int = 10
    prefetch: int | None = None
    timeout: float | None = None
    since: Any = None
    dedup: int = 0
    dedup_durable: bool = False
    accept: tuple[str, ...] = ()
    default_format: str = ""
    log_bodies: bool = False  # a setting, not an option of the mark

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, plain(getattr(self, each.name)))

    def problem(self) -> str:
        """Say what is wrong with the options by themselves; nothing where all is well."""
        if self.delivery not in DELIVERIES:
            return (
                f"delivery must be evbus.SERVICE_POOL, evbus.SINGLETON or evbus.BROADCAST, not {shown(self.delivery)}"
            )
        if self.on_error not in ON_ERROR:
            names = ", ".join(f"evbus.{each.upper()}" for each in ON_ERROR)
            return f"on_error must be one of {names}, not {shown(self.on_error)}"
        for name in ("source", "event_types"):
            values = (self.source,) if name == "source" else self.event_types
            if not values or not all(isinstance(value, str) and value for value in values):
                return f"{name.replace('_', ' ')} must be non-empty text, not {shown(getattr(self, name))}"
        for word in (word for event_type in self.event_types for word in event_type.split(".")):
            if len(word) > 1 and not {"*", "#"}.isdisjoint(word):
                where = f"{shown(word)} has one within a word"
                return f"in an event type, * and # stand for whole words between dots, and {where}"
        for name, kinds in NUMBERS.items():
            value = getattr(self, name)
            if value is None and name in ("prefetch", "timeout"):
                continue
            if not isinstance(value, kinds) or isinstance(value, bool) or not 0 < value <= MOST:
                whole = " a whole number" if kinds is int else ""
                return f"{name} must be{whole} greater than 0, and at most {MOST}, not {shown(value)}"
        for name in ("reliable", "dedup_durable"):
            if not isinstance(getattr(self, name), bool):
                return f"{name} must be True or False, not {shown(getattr(self, name))}"
        if not isinstance(self.dedup, int) or isinstance(self.dedup, bool) or not 0 <= self.dedup <= MOST:
            return f"dedup must be the number of event ids to remember, not {shown(self.dedup)}"
        for each in self.expected_exceptions:
            if not (isinstance(each, type) and issubclass(each, BaseException)):
                return f"expected_exceptions must be classes of exceptions, and {shown(each)} is none"
        for name in ("name", "profile", "broadcast_identifier", "default_format"):
            value = getattr(self, name)
            if not isinstance(value, str) and not (value is None and name == "broadcast_identifier"):
                return f"{name} must be text, not {shown(value)}"
        if not all(isinstance(path, str) and path for path in self.sensitive):
            return f"sensitive must be names of parts of the body, not {shown(self.sensitive)}"
        if not all(isinstance(name, str) and name for name in self.accept):
            return f"accept must be names of serializers, not {shown(self.accept)}"
        if self.dedup_durable and not self.dedup:
            return "dedup_durable needs dedup=, the number of event ids to remember"
        return ""


@dataclass(frozen=True)
class Handler:
    """A function of a service that is to be called with events; `call` takes one event, `ref` is its place."""

    ref: str
    service: str
    name: str
    call: Callable[[Any], Any]
    is_async: bool
    options: HandlerOptions
    declared: dict[str, Any] = field(default_factory=dict)  # event types of which a declaration checks the body
