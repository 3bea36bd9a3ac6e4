"""A handler: a function and how it wants its events."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from evbus_like.engine import rate
from evbus_like.engine.event import plain
from evbus_like.engine.expiry import priority_problem
from evbus_like.engine.rate import Rate
from evbus_like.engine.receiving import rules
from evbus_like.engine.receiving.breaker import Breaker
from evbus_like.engine.receiving.rules import MOST, ON_ERROR, RETRY, Policy, Rule
from evbus_like.engine.receiving.subscription import BROADCAST, DELIVERIES, SERVICE_POOL
from evbus_like.engine.suggest import shown, text_problem

MOST_SHARDS = 256
MOST_BATCH = 10_000
MOST_LINGER = 3600  # seconds
LINGER = 0.2  # seconds
SHARED = 1000  # events that are received and not settled, where they are shared out to their senders
NUMBERS: dict[str, Any] = {
    "attempts": int,
    "backoff": (int, float),
    "max_backoff": (int, float),
    "max_workers": int,
    "prefetch": int,
    "timeout": (int, float),
    "batch": int,
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
    rules: tuple[Rule, ...] = ()
    later: tuple[float, ...] = ()
    where: Callable[[Any, Any], Any] | None = None
    expected_exceptions: tuple[type[BaseException], ...] = ()
    sensitive: tuple[str, ...] = ()
    broadcast_identifier: str | None = None
    max_workers: int = 10
    prefetch: int | None = None
    shards: int | None = None
    max_priority: int | None = None
    batch: int | None = None
    linger: float | None = None
    breaker: Breaker | None = None
    rate: str | None = None
    rate_by: str = ""
    timeout: float | None = None
    since: Any = None
    dedup: int = 0
    dedup_durable: bool = False
    accept: tuple[str, ...] = ()
    default_format: str = ""
    inbox: str = ""
    log_bodies: bool = False  # a setting, not an option of the mark

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, plain(getattr(self, each.name)))

    def policy(self, error: BaseException | None = None) -> Policy:
        """Return what becomes of an event after this exception: by the first rule that matches, else by the options."""
        own = Policy(self.on_error, self.attempts, self.backoff, self.max_backoff, self.later)
        rule = None if error is None else next((each for each in self.rules if each.matches(error)), None)
        return own if rule is None else rule.policy(own)

    def problem(self) -> str:
        """Say what is wrong with the options by themselves; nothing where all is well."""
        return next(self._problems(), "")

    def _problems(self) -> Iterator[str]:
        if self.delivery not in DELIVERIES:
            yield f"delivery must be evbus.SERVICE_POOL, evbus.SINGLETON or evbus.BROADCAST, not {shown(self.delivery)}"
        yield from self._failing_problems()
        yield from self._event_problems()
        yield from self._number_problems()
        if self.shards is not None and (problem := self._shards_problem()):
            yield problem
        if self.max_priority is not None and (problem := self._priority_problem()):
            yield problem
        if self.breaker is not None and (problem := _breaker_problem(self.breaker)):
            yield problem
        if self.rate is not None and (problem := rate.problem("rate", self.rate)):
            yield problem
        if self.rate_by and self.rate is None:
            yield "rate_by is for rate=, of which each sender gets a fair share"
        if problem := self._batch_problem():
            yield problem
        if self.where is not None and (problem := where_problem(self.where)):
            yield problem
        yield from self._name_problems()
        if self.dedup_durable and not self.dedup:
            yield "dedup_durable needs dedup=, the number of event ids to remember"

    def _failing_problems(self) -> Iterator[str]:
        if self.on_error not in ON_ERROR:
            yield f"on_error must be one of {rules.choices()}, not {shown(self.on_error)}"
        if problem := rules.problem(self.rules) or rules.later_problem(self.later):
            yield problem
        if self.later and self.on_error != RETRY:
            yield f"later= is for on_error=evbus.RETRY, and this says evbus.{self.on_error.upper()}"

    def _event_problems(self) -> Iterator[str]:
        for name in ("source", "event_types"):
            values = (self.source,) if name == "source" else self.event_types
            if not values or not all(isinstance(value, str) and value.strip() for value in values):
                yield f"{name.removesuffix('s')} must be non-empty text, not {shown(getattr(self, name))}"
            elif problem := next(filter(None, map(text_problem, values)), ""):
                yield f"{name.removesuffix('s')} {problem}"
        for word in (word for event_type in self.event_types for word in event_type.split(".")):
            if len(word) > 1 and not {"*", "#"}.isdisjoint(word):
                where = f"{shown(word)} has one within a word"
                yield f"in an event type, * and # stand for whole words between dots, and {where}"

    def _number_problems(self) -> Iterator[str]:
        for name, kinds in NUMBERS.items():
            value = getattr(self, name)
            if value is None and name in ("prefetch", "timeout", "batch"):
                continue
            if problem := rules.number_problem(name, value, kinds is int, MOST_BATCH if name == "batch" else MOST):
                yield problem
        for name in ("reliable", "dedup_durable"):
            if not isinstance(getattr(self, name), bool):
                yield f"{name} must be True or False, not {shown(getattr(self, name))}"
        if not isinstance(self.dedup, int) or isinstance(self.dedup, bool) or not 0 <= self.dedup <= MOST:
            yield f"dedup must be the number of event ids to remember, not {shown(self.dedup)}"

    def _name_problems(self) -> Iterator[str]:
        for each in self.expected_exceptions:
            if not (isinstance(each, type) and issubclass(each, BaseException)):
                yield f"expected_exceptions must be classes of exceptions, and {shown(each)} is none"
        for name in ("name", "profile", "broadcast_identifier", "default_format", "rate_by", "inbox"):
            value = getattr(self, name)
            if not isinstance(value, str) and not (value is None and name == "broadcast_identifier"):
                yield f"{name} must be text, not {shown(value)}"
            elif problem := text_problem(value or ""):
                yield f"{name} {problem}"
        if not all(isinstance(path, str) and path for path in self.sensitive):
            yield f"sensitive must be names of parts of the body, not {shown(self.sensitive)}"
        if not all(isinstance(name, str) and name for name in self.accept):
            yield f"accept must be names of serializers, not {shown(self.accept)}"

    @property
    def lingers(self) -> float:
        """Seconds that the first event of a batch waits for others."""
        return LINGER if self.linger is None else self.linger

    @property
    def most_open(self) -> int:
        """The most events that are received and not settled: enough for as many calls as there may be at once."""
        return self.prefetch or max(self.max_workers * (self.batch or 1), SHARED if self.rate_by else 0)

    @property
    def rate_parsed(self) -> Rate:
        """The rate, as numbers."""
        found = rate.parse(self.rate)
        assert found is not None
        return found

    def _batch_problem(self) -> str:
        if self.linger is not None:
            if (
                not isinstance(self.linger, (int, float))
                or isinstance(self.linger, bool)
                or not 0 <= self.linger <= MOST_LINGER
            ):
                return f"linger must be seconds, at most {MOST_LINGER}, not {shown(self.linger)}"
            if self.batch is None:
                return "linger is for batch=, the most events that the handler is called with at once"
        if self.batch is not None and self.prefetch is not None and self.prefetch < self.batch:
            return f"prefetch={self.prefetch} is less than batch={self.batch}, so that no batch would ever be full"
        return ""

    def _priority_problem(self) -> str:
        if problem := priority_problem(self.max_priority) or ("" if self.max_priority else "must not be 0"):
            return f"max_priority {problem}"
        return (
            "max_priority= changes the order of events, and shards= keeps it: give one of them" if self.shards else ""
        )

    def _shards_problem(self) -> str:
        shards = self.shards
        if not isinstance(shards, int) or isinstance(shards, bool) or not 1 <= shards <= MOST_SHARDS:
            return f"shards must be a whole number from 1 to {MOST_SHARDS}, not {shown(shards)}"
        if self.delivery == BROADCAST:
            return "shards= shares events out among workers, and with BROADCAST every worker gets every event"
        return "" if self.reliable else "shards= needs reliable=True: a shard keeps its events while it has no worker"


def _breaker_problem(breaker: Any) -> str:
    if not isinstance(breaker, Breaker):
        return f"breaker must be evbus.Breaker(...), not {shown(breaker)}"
    problem = breaker.problem()
    return f"breaker: {problem}" if problem else ""


def where_problem(where: Any) -> str:
    """Return why a filter cannot be called with headers and body, or an empty string."""
    if not callable(where) or isinstance(where, type):
        return f"where must be a function of headers and body, not {shown(where)}"
    if inspect.iscoroutinefunction(where) or inspect.isgeneratorfunction(where):
        return "where must be a plain function, without async and yield: it is called for each event and must not wait"
    try:
        inspect.signature(where).bind(None, None)
    except TypeError:
        return f"where is called as where(headers, body), and {shown(where)} cannot be"
    except ValueError:  # a builtin without a signature
        pass
    return ""


@dataclass(frozen=True)
class Handler:
    """A function of a service that is to be called with events.

    `call` takes one event, a list of them if `options.batch` says so; `ref` is its place.
    """

    ref: str
    service: str
    name: str
    call: Callable[[Any], Any]
    is_async: bool
    options: HandlerOptions
    declared: dict[str, Any] = field(default_factory=dict)  # event types of which a declaration checks the body
