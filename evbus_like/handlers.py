"""Marks for handlers, methods and middleware: what applications import.

.. code-block:: python

    # myapp/handler/shipping.py, in a folder that myapp's conf.py merges: DYNE = {"handler": ["handler"]}
    import evbus_like.handlers as evbus

    @evbus.handler("orders", "order_placed")
    async def ship(hub, event):
        print(event.body, event.headers, event.id, event.routing_key, event.redelivered, event.attempt)

Write `import evbus_like.handlers as evbus`, never `from ... import`: what a plugin imports by name becomes a function
on the hub.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn, TypeVar

from evbus_like.engine.errors import HandlerError, Refused
from evbus_like.engine.event import plain
from evbus_like.engine.handling import Handling, current
from evbus_like.engine.middleware import Answer
from evbus_like.engine.receiving.breaker import Breaker
from evbus_like.engine.receiving.handler import HandlerOptions
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.rules import (
    ACK_AND_LOG,
    REJECT,
    REQUEUE,
    RETRY,
    SHUTDOWN,
    Reject,
    Requeue,
    Retry,
    Rule,
)
from evbus_like.engine.receiving.subscription import BROADCAST, SERVICE_POOL, SINGLETON
from evbus_like.engine.rpc.wire import ERROR, RESPONSE, Transfer
from evbus_like.engine.suggest import shown, text_problem

__all__ = [
    "ACK_AND_LOG",
    "BROADCAST",
    "REJECT",
    "REQUEUE",
    "RETRY",
    "SERVICE_POOL",
    "SHUTDOWN",
    "SINGLETON",
    "Breaker",
    "Handling",
    "ReceivedEvent",
    "Reject",
    "Requeue",
    "Retry",
    "Rule",
    "Transfer",
    "answer",
    "current",
    "handler",
    "method",
    "on",
    "on_error",
    "on_response",
    "refuse",
    "transfer",
]

METHOD = "evbus_method"  # the attribute of a function that `method` marked
ANSWERS = "evbus_answers"  # of one that `on_response` or `on_error` marked
MARK = "evbus_handlers"  # the attribute of a marked function; it survives on the hub's wrapper

OF_ANSWERS = frozenset(
    [
        "on_error",
        "attempts",
        "backoff",
        "max_backoff",
        "rules",
        "later",
        "expected_exceptions",
        "sensitive",
        "max_workers",
        "timeout",
        "accept",
    ]
)
F = TypeVar("F", bound=Callable[..., Any])


def handler(
    source: str,
    event_type: str | Sequence[str],
    *,
    name: str = "",
    profile: str = "default",
    delivery: str = SERVICE_POOL,
    reliable: bool = True,
    on_error: str | None = None,
    requeue_on_error: bool = False,
    attempts: int = 5,
    backoff: float = 1.0,
    max_backoff: float = 60.0,
    rules: Sequence[Rule] = (),
    later: Sequence[float] = (),
    where: Callable[[Any, Any], Any] | None = None,
    expected_exceptions: type[BaseException] | Sequence[type[BaseException]] = (),
    sensitive: str | Sequence[str] = (),
    broadcast_identifier: str | None = None,
    max_workers: int = 10,
    prefetch: int | None = None,
    shards: int | None = None,
    max_priority: int | None = None,
    batch: int | None = None,
    linger: float | None = None,
    breaker: Breaker | None = None,
    rate: str | None = None,
    rate_by: str = "",
    timeout: float | None = None,
    since: Any = None,
    dedup: int = 0,
    dedup_durable: bool = False,
    accept: str | Sequence[str] = (),
    default_format: str = "",
    inbox: str = "",
) -> Callable[[F], F]:
    """Mark a function to be called with every event of these types from the service `source`.

    Types may be patterns: `user.*` (one word), `user.#` (any number). One function may be marked several times.

    - `name` of the listener, by default the function's; it is part of the queue's name.
    - `profile` to receive from: a profile's name, or `amqp:orders` if several providers have it.
    - `delivery`: SERVICE_POOL (one instance of each service gets an event), SINGLETON (one handler in all),
      BROADCAST (every instance; then `reliable=False`, or a `broadcast_identifier` that a restart does not change).
    - `reliable`: the queue keeps events while nobody receives.
    - `on_error`: RETRY (`attempts` times, waiting `backoff` seconds, doubled up to `max_backoff`; then the dead
      letters), REQUEUE (forever), ACK_AND_LOG, SHUTDOWN (the worker stops with exit code 1), REJECT (the dead letters
      at once). `requeue_on_error=True` means REQUEUE, as in nameko.
    - `rules` for exceptions, `on(...)`: the first one that matches takes precedence over the options above.
    - `later`: delays in seconds, such as [60, 600, 3600], for further attempts after the quick ones. Only for sources
      that can delay an event: RabbitMQ and memory.
    - `where(headers, body)` says whether an event is wanted; others are acknowledged without a call, and counted.
    - `expected_exceptions` are logged in one line, without a traceback. `sensitive` names parts of the body that no log
      shows: `"password"`, `"card.number"`, `"*"` for all.
    - `max_workers`: how many calls run at once, sync functions in threads. `prefetch`: how many events may be received
      and not settled; by default as many.
    - `shards`: on RabbitMQ, how many queues share the events by their keys. Each is read by one worker of the cluster,
      so events of a key are handled one after another. `prefetch` is then for each queue.
    - `max_priority`, from 1 to 255: on RabbitMQ, events of a higher `priority` come first; priorities above it count as
      this one. It needs a classic queue, and a small `prefetch`.
    - `batch`: the function is called with a list of at most so many events; the first waits at most `linger` seconds
      (0.2) for others. It returns None, one outcome for all, or a list with one for each: None, an exception, RETRY,
      REQUEUE or REJECT. If it raises, the batch is halved until the failing events are found. `prefetch` is then by
      default max_workers * batch.
    - `breaker`, such as Breaker(failures=0.5, window=60, pause=30), stops the handler while too many calls fail, and
      then tries one event.
    - `rate`, such as "50/s" or "1000/min": at most so many events, in all processes of one `evbus run`, or of all
      machines that share a PostgreSQL. `rate_by` names a header, or a part of the body such as "customer.id": each of
      its values gets a fair share, among the events that are received: `prefetch` is then by default 1000.
    - `timeout`: seconds that one call may take, None for no limit. An async function is cancelled; a thread goes on.
    - `since`: where a new listener begins, for sources that can rewind: "earliest", "latest", an offset, a datetime.
    - `dedup`: how many event ids to remember; an event that was handled before is acknowledged without a call.
      `dedup_durable` keeps them in the outbox file.
    - `accept`: the formats of bodies that are decoded, by the names of their serializers: `("json", "msgpack")`. An
      event of another format becomes a dead letter. By default all but yaml, or what the profile says.
    - `default_format`: the format of bodies without a content type, which otherwise stay bytes.

    - `inbox`: a profile of the provider postgres. `event.transaction` is a connection to its database, in a transaction
      that also marks the event as handled; it is committed before the event is acknowledged, and rolled back if the
      function fails. An event that has a mark is acknowledged without a call.

    An event is acknowledged when the function has returned and what it put is delivered or stored. Raises HandlerError
    for invalid options.
    """
    if not isinstance(requeue_on_error, bool):
        raise HandlerError(f"requeue_on_error must be True or False, not {shown(requeue_on_error)}")
    if requeue_on_error and on_error not in (None, REQUEUE):
        raise HandlerError(
            f"requeue_on_error=True and on_error={shown(on_error)} say different things; give one of them"
        )
    options = HandlerOptions(
        source=source,
        event_types=_many(event_type, str),
        name=name,
        profile=profile,
        delivery=delivery,
        reliable=reliable,
        on_error=REQUEUE if requeue_on_error else RETRY if on_error is None else on_error,
        attempts=attempts,
        backoff=backoff,
        max_backoff=max_backoff,
        rules=_many(rules, Rule),
        later=_many(later, float),
        where=where,
        expected_exceptions=_many(expected_exceptions, type),
        sensitive=_many(sensitive, str),
        broadcast_identifier=broadcast_identifier,
        max_workers=max_workers,
        prefetch=prefetch,
        shards=shards,
        max_priority=max_priority,
        batch=batch,
        linger=linger,
        breaker=breaker,
        rate=rate,
        rate_by=rate_by,
        timeout=timeout,
        since=since,
        dedup=dedup,
        dedup_durable=dedup_durable,
        accept=_many(accept, str),
        default_format=default_format,
        inbox=inbox,
    )

    def mark(function: F) -> F:
        if problem := unusable(function):
            raise HandlerError(problem)
        setattr(function, MARK, (*getattr(function, MARK, ()), options))
        return function

    return mark


def on(
    exceptions: type[BaseException] | Sequence[type[BaseException]],
    action: str | None = None,
    *,
    attempts: int | None = None,
    backoff: float | None = None,
    max_backoff: float | None = None,
    later: Sequence[float] | None = None,
) -> Rule:
    """Return a rule for the option `rules` of a handler: what becomes of an event whose handler raises one of these.

    `action` is RETRY (default), REQUEUE, REJECT, ACK_AND_LOG or SHUTDOWN. The numbers are those of the handler, for
    RETRY; None means the handler's. An exception group matches if all of its exceptions do. Mistakes are reported at
    the start.
    """
    return Rule(
        plain(_many(exceptions, type)),
        RETRY if action is None else plain(action),
        plain(attempts),
        plain(backoff),
        plain(max_backoff),
        None if later is None else plain(_many(later, float)),
    )


def method(
    *,
    name: str = "",
    timeout: float | None = None,
    repeat: bool = True,
    expected_exceptions: type[BaseException] | Sequence[type[BaseException]] = (),
    sensitive: str | Sequence[str] = (),
    accept: str | Sequence[str] = (),
) -> Callable[[F], F]:
    """Set the options of a method of a service; a public function without this mark has the defaults.

    - `name` for callers, by default the function's.
    - `timeout`: seconds that one call may take, None for no limit.
    - `repeat=False`: a request whose worker died during the call is refused when it is delivered again.
    - `expected_exceptions` and `sensitive` are as for handlers; parts of a request are `"kwargs.password"`.
    - `accept`: the formats of requests that are decoded, json by default; answers are always JSON.
    """
    options = {
        "name": name,
        "timeout": timeout,
        "repeat": repeat,
        "expected_exceptions": _many(expected_exceptions, type),
        "sensitive": _many(sensitive, str),
        "accept": _many(accept, str),
    }

    def mark(function: F) -> F:
        if problem := unusable(function):
            raise HandlerError(problem)
        setattr(function, METHOD, options)
        return function

    return mark


def on_response(service: str, method: str, **options: Any) -> Callable[[F], F]:
    """Mark a function (hub, event) to be called with the answers to `hub.rpc.<service>.<method>.ask(...)`.

    `event.body` is the result, `event.correlation_id` what `ask` returned. Answers wait in a durable queue of the
    application, so that any instance may handle them, also after a restart. `options` are those of `handler` for errors
    and workers: on_error, attempts, backoff, max_backoff, expected_exceptions, sensitive, max_workers,
    timeout, accept (json by default).
    """
    return _answers(RESPONSE, service, method, options)


def on_error(service: str, method: str, **options: Any) -> Callable[[F], F]:
    """Mark a function to be called with the errors of such calls; `event.body` has class, message, code and args."""
    return _answers(ERROR, service, method, options)


def _answers(kind: str, service: str, method: str, given: dict[str, Any]) -> Callable[[F], F]:
    unknown = set(given) - OF_ANSWERS
    if unknown:
        raise HandlerError(f"a handler of answers has no option {shown(', '.join(sorted(unknown)))}")
    for name, value in (("service", service), ("method", method)):
        if not isinstance(value, str) or not value.strip():
            raise HandlerError(f"{name} must be non-empty text, not {shown(value)}")
        if problem := text_problem(value):
            raise HandlerError(f"{name} {problem}")
    of_many = {"expected_exceptions": type, "sensitive": str, "accept": str, "rules": Rule, "later": float}
    for name, type_ in of_many.items():
        if name in given:
            given[name] = _many(given[name], type_)
    options = HandlerOptions(source=service, event_types=(method,), **given)

    def mark(function: F) -> F:
        if problem := unusable(function):
            raise HandlerError(problem)
        setattr(function, ANSWERS, (*getattr(function, ANSWERS, ()), (kind, options)))
        return function

    return mark


def answer(value: Any = None) -> NoReturn:
    """In a middleware: stop here and answer a request with the value; an event counts as handled."""
    raise Answer(value)


def refuse(reason: str) -> NoReturn:
    """In a middleware: stop here and give the sender the reason; an event becomes a dead letter."""
    raise Refused(reason)


def transfer(service: str, method: str, *args: Any, **kwargs: Any) -> Transfer:
    """Return this from a method to hand the request on: `service.method` answers the first caller."""
    return Transfer(plain(service), plain(method), args, kwargs)


def unusable(function: Any) -> str:
    """Return why pop would not put a marked object on the hub, where it would never be called; else an empty string."""
    if not inspect.isfunction(function) and type(function).__name__ != "cython_function_or_method":
        return f"mark functions, def or async def, not {function!r}: a plugin's other objects are not called"
    if function.__name__.startswith("_"):
        return f"{function.__name__}: pop keeps functions whose names begin with _ off the hub; give it another name"
    return ""


def _many(value: Any, kind: type) -> tuple[Any, ...]:
    """Return one or several values as a tuple; invalid values are reported at start."""
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, (kind, str, bytes)) else (value,)
