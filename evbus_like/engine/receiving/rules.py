"""Rules: what becomes of an event by the exception of its handler, and the exceptions by which a handler says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evbus_like.engine.errors import HandlerError
from evbus_like.engine.suggest import shown

RETRY = "retry"  # again after a backoff, `attempts` times, then after each of `later`; then to the dead letters
REQUEUE = "requeue"  # back to the source, which gives it again, for ever
ACK_AND_LOG = "ack_and_log"  # the error is logged, the event is done
SHUTDOWN = "shutdown"  # the worker stops with exit code 1; the event comes again when it is started
REJECT = "reject"  # to the dead letters at once
ON_ERROR = (RETRY, REQUEUE, ACK_AND_LOG, SHUTDOWN, REJECT)
MOST = 2**31 - 1  # events, attempts, or seconds
MOST_DELAY = 2_000_000  # seconds, 23 days: RabbitMQ's queues hold no message longer
MOST_LATER = 100  # delays of one handler


class Decision(Exception):
    """Raised by a handler to say what becomes of its event."""

    def __init__(self, reason: str = "") -> None:
        if not isinstance(reason, str):
            name = type(self).__name__
            hint = f"evbus.{name}(after={shown(reason)})" if name == "Retry" else f'evbus.{name}("why")'
            raise HandlerError(f"the reason of evbus.{name} must be text, not {shown(reason)}; write {hint}")
        super().__init__(reason)
        self.reason = reason


class Retry(Decision):
    """Handle the event again: after `after` seconds, or as its backoff says; this counts as an attempt."""

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        super().__init__(reason)
        if after is not None and not _is_delay(after):
            raise HandlerError(f"after must be seconds, at most {MOST_DELAY}, not {shown(after)}")
        self.after = after


class Reject(Decision):
    """Make the event a dead letter now, with this reason."""


class Requeue(Decision):
    """Give the event back to the source, which delivers it again."""


@dataclass(frozen=True)
class Policy:
    """What becomes of an event after a failure: the handler's own options, or those of the rule that matches."""

    on_error: str
    attempts: int
    backoff: float
    max_backoff: float
    later: tuple[float, ...]

    @property
    def most(self) -> int:
        """The attempts in all."""
        return self.attempts + len(self.later)


@dataclass(frozen=True)
class Rule:
    """What becomes of an event whose handler raised one of these exceptions; None is what the handler says."""

    exceptions: tuple[type[BaseException], ...]
    on_error: str
    attempts: int | None
    backoff: float | None
    max_backoff: float | None
    later: tuple[float, ...] | None

    def matches(self, error: BaseException) -> bool:
        """Whether it is for this exception, or for every one of an exception group."""
        if isinstance(error, BaseExceptionGroup) and error.split(self.exceptions)[1] is None:
            return True
        return isinstance(error, self.exceptions)

    def policy(self, of_handler: Policy) -> Policy:
        """Return what it says, and what the handler says where it says nothing."""
        return Policy(
            self.on_error,
            of_handler.attempts if self.attempts is None else self.attempts,
            of_handler.backoff if self.backoff is None else self.backoff,
            of_handler.max_backoff if self.max_backoff is None else self.max_backoff,
            of_handler.later if self.later is None else self.later,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, without what it does not say."""
        facts = {**asdict(self), "exceptions": [each.__name__ for each in self.exceptions]}
        facts["later"] = None if self.later is None else list(self.later)
        return {name: value for name, value in facts.items() if value is not None}

    def __str__(self) -> str:
        names = ", ".join(each.__name__ for each in self.exceptions)
        more = "" if self.attempts is None else f" {self.attempts}"
        return f"{names}: {self.on_error}{more}{_later(self.later or ())}"


def decision(error: BaseException) -> Decision | None:
    """Return the decision that a handler raised, by itself or in an exception group."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(decision, error.exceptions)), None)
    return error if isinstance(error, Decision) else None


def described(policy: Policy, rules: Sequence[Rule]) -> str:
    """Return what becomes of failed events in words: `TimeoutError: retry 10; else retry 5`."""
    own = f"{policy.on_error} {policy.attempts}{_later(policy.later)}" if policy.on_error == RETRY else policy.on_error
    return "; ".join([*map(str, rules), f"else {own}"]) if rules else own


def _later(later: Sequence[float]) -> str:
    return f", later {', '.join(f'{each:g}' for each in later)} s" if later else ""


def problem(rules: Any) -> str:
    """Return what is wrong with the rules of a handler, or an empty string."""
    if not isinstance(rules, tuple) or not all(isinstance(each, Rule) for each in rules):
        return f"rules must be a list of evbus.on(...), not {shown(rules)}"
    before: list[type[BaseException]] = []
    for number, rule in enumerate(rules, start=1):
        if problem := _rule_problem(rule, before):
            return f"rules: rule {number}: {problem}"
        before += rule.exceptions
    return ""


def _rule_problem(rule: Rule, before: Sequence[type[BaseException]]) -> str:
    for each in rule.exceptions:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            return f"it must name classes of exceptions, and {shown(each)} is none"
        if issubclass(each, (Reject, Requeue)):
            return f"{each.__name__} says itself what becomes of the event; there can be no rule for it"
        if earlier := next((other for other in before if issubclass(each, other)), None):
            return f"it never matches {each.__name__}, which an earlier rule for {earlier.__name__} matches"
    if not rule.exceptions:
        return "it names no exception"
    if rule.on_error not in ON_ERROR:
        return f"what it does must be one of {choices()}, not {shown(rule.on_error)}"
    for name in ("attempts", "backoff", "max_backoff"):
        value = getattr(rule, name)
        if value is not None and (problem := number_problem(name, value, name == "attempts")):
            return problem
    if rule.later is not None and (problem := later_problem(rule.later)):
        return problem
    said = [name for name in ("attempts", "backoff", "max_backoff", "later") if getattr(rule, name) is not None]
    if said and rule.on_error != RETRY:
        return f"{said[0]} is for evbus.RETRY, and it says evbus.{rule.on_error.upper()}"
    return ""


def choices() -> str:
    """Return the names of what may become of an event, as they are written."""
    return ", ".join(f"evbus.{each.upper()}" for each in ON_ERROR)


def number_problem(name: str, value: Any, whole: bool, most: int = MOST) -> str:
    """Return what is wrong with a number of a handler, or an empty string."""
    if isinstance(value, int if whole else (int, float)) and not isinstance(value, bool) and 0 < value <= most:
        return ""
    return f"{name} must be{' a whole number' * whole} greater than 0, and at most {most}, not {shown(value)}"


def later_problem(later: Any) -> str:
    """Return what is wrong with the delays of second-level retries, or an empty string."""
    if not isinstance(later, tuple) or len(later) > MOST_LATER or not all(_is_delay(each) and each for each in later):
        return f"later must be at most {MOST_LATER} delays, in seconds up to {MOST_DELAY}, not {shown(later)}"
    return ""


def _is_delay(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MOST_DELAY
