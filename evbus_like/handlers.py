"""Mark functions as handlers of events: the one ordinary import of an application that receives.

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
from evbus_like.engine.handling import Handling, current
from evbus_like.engine.middleware import Answer
from evbus_like.engine.receiving.handler import ACK_AND_LOG, REJECT, REQUEUE, RETRY, SHUTDOWN, HandlerOptions
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import BROADCAST, SERVICE_POOL, SINGLETON
from evbus_like.engine.rpc.wire import ERROR, RESPONSE, Transfer

__all__ = [
    "ACK_AND_LOG",
    "BROADCAST",
    "REJECT",
    "REQUEUE",
    "RETRY",
    "SERVICE_POOL",
    "SHUTDOWN",
    "SINGLETON",
    "Handling",
    "ReceivedEvent",
    "Transfer",
    "answer",
    "current",
    "handler",
    "method",
    "on_error",
    "on_response",
    "refuse",
    "transfer",
]

METHOD = "evbus_method"  # the attribute of a function that `method` marked
ANSWERS = "evbus_answers"  # of one that `on_response` or `on_error` marked
MARK = "evbus_handlers"  # the attribute of a marked function; it survives on the hub's wrapper

OF_ANSWERS = frozenset(
    ["on_error", "attempts", "backoff", "max_backoff", "expected_exceptions", "sensitive", "max_workers", "timeout"]
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
    expected_exceptions: type[BaseException] | Sequence[type[BaseException]] = (),
    sensitive: str | Sequence[str] = (),
    broadcast_identifier: str | None = None,
    max_workers: int = 10,
    prefetch: int | None = None,
    timeout: float | None = None,
    since: Any = None,
    dedup: int = 0,
    dedup_durable: bool = False,
) -> Callable[[F], F]:
    """Call the function with every event of these types from the service `source`.

    Types may be patterns: `user.*` (one word), `user.#` (any number). One function may be marked several times.

    - `name` is the listener's, the function's by default; it is a part of its queue's name.
    - `profile` is where the events come from: a profile's name, or `amqp:orders` where several providers have it.
    - `delivery`: SERVICE_POOL (one instance of each service gets an event), SINGLETON (one handler in all),
      BROADCAST (every instance; then `reliable=False`, or a `broadcast_identifier` that a restart does not change).
    - `reliable`: the queue keeps events while nobody receives.
    - `on_error`: RETRY (`attempts` times, waiting `backoff` seconds, doubled up to `max_backoff`; then the dead
      letters), REQUEUE (for ever), ACK_AND_LOG, SHUTDOWN (the worker ends with exit code 1), REJECT (the dead letters
      at once). `requeue_on_error=True` is nameko's word for REQUEUE.
    - `expected_exceptions` are logged in one line, without a traceback. `sensitive` names parts of the body that no log
      shows: `"password"`, `"card.number"`, `"*"` for all.
    - `max_workers` calls at once, sync functions in threads; `prefetch` events received and not settled (max_workers).
    - `timeout`: seconds that one call may take, None for ever. An async function is cancelled; a thread goes on.
    - `since`: where a new listener begins, for sources that can rewind: "earliest", "latest", an offset, a datetime.
    - `dedup`: how many event ids to remember; an event that was handled already is acknowledged without a call.
      `dedup_durable` keeps them in the outbox file.

    An event is acknowledged when the function has returned and what it put is delivered or stored. Raises HandlerError
    for options that fit no handler.
    """
    if not isinstance(requeue_on_error, bool):
        raise HandlerError(f"requeue_on_error must be True or False, not {requeue_on_error!r}")
    if requeue_on_error and on_error not in (None, REQUEUE):
        raise HandlerError(f"requeue_on_error=True and on_error={on_error!r} say different things; give one of them")
    options = HandlerOptions(
        source=source,
        event_types=_many(event_type, str),
        name=name,
        profile=profile,
        delivery=delivery,
        reliable=reliable,
        on_error=REQUEUE if requeue_on_error else on_error or RETRY,
        attempts=attempts,
        backoff=backoff,
        max_backoff=max_backoff,
        expected_exceptions=_many(expected_exceptions, type),
        sensitive=_many(sensitive, str),
        broadcast_identifier=broadcast_identifier,
        max_workers=max_workers,
        prefetch=prefetch,
        timeout=timeout,
        since=since,
        dedup=dedup,
        dedup_durable=dedup_durable,
    )

    def mark(function: F) -> F:
        if problem := unusable(function):
            raise HandlerError(problem)
        setattr(function, MARK, (*getattr(function, MARK, ()), options))
        return function

    return mark


def method(
    *,
    name: str = "",
    timeout: float | None = None,
    repeat: bool = True,
    expected_exceptions: type[BaseException] | Sequence[type[BaseException]] = (),
    sensitive: str | Sequence[str] = (),
) -> Callable[[F], F]:
    """Say how a function of a service plugin is called; without it, a public function is a method with these defaults.

    - `name` is what callers call it, the function's by default.
    - `timeout`: seconds that one call may take, None for ever.
    - `repeat=False`: a request whose worker died in mid call is refused when it comes again, and not run a second time.
    - `expected_exceptions` and `sensitive` are as for handlers; parts of a request are `"kwargs.password"`.
    """
    options = {
        "name": name,
        "timeout": timeout,
        "repeat": repeat,
        "expected_exceptions": _many(expected_exceptions, type),
        "sensitive": _many(sensitive, str),
    }

    def mark(function: F) -> F:
        if problem := unusable(function):
            raise HandlerError(problem)
        setattr(function, METHOD, options)
        return function

    return mark


def on_response(service: str, method: str, **options: Any) -> Callable[[F], F]:
    """Call the function with the answers of calls made by `hub.rpc.<service>.<method>.ask(...)`: (hub, event).

    `event.body` is the result, `event.correlation_id` what `ask` gave. The answers wait in a durable queue of the
    application, so any of its instances may handle them, also after a restart. `options` are those of `handler` that
    are about errors and work: on_error, attempts, backoff, max_backoff, expected_exceptions, sensitive, max_workers,
    timeout.
    """
    return _answers(RESPONSE, service, method, options)


def on_error(service: str, method: str, **options: Any) -> Callable[[F], F]:
    """Call the function with the errors of such calls; `event.body` has the error's class, message, code and args."""
    return _answers(ERROR, service, method, options)


def _answers(kind: str, service: str, method: str, given: dict[str, Any]) -> Callable[[F], F]:
    unknown = set(given) - OF_ANSWERS
    if unknown:
        raise HandlerError(f"a handler of answers has no option {', '.join(sorted(unknown))}")
    for name, type_ in (("expected_exceptions", type), ("sensitive", str)):
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
    """In a middleware: the message goes no further. A request is answered with the value, an event is done."""
    raise Answer(value)


def refuse(reason: str) -> NoReturn:
    """In a middleware: the message goes no further, and its sender hears why; an event goes to the dead letters."""
    raise Refused(reason)


def transfer(service: str, method: str, *args: Any, **kwargs: Any) -> Transfer:
    """Give what a method returns to hand its request on: `service.method` answers the first caller."""
    return Transfer(service, method, args, kwargs)


def unusable(function: Any) -> str:
    """Say why pop would not take what is marked for a function of the hub: it would never be called."""
    if not inspect.isfunction(function) and type(function).__name__ != "cython_function_or_method":
        return f"mark functions, def or async def, not {function!r}: a plugin's other objects are not called"
    if function.__name__.startswith("_"):
        return f"{function.__name__}: pop keeps functions whose names begin with _ off the hub; give it another name"
    return ""


def _many(value: Any, kind: type) -> tuple[Any, ...]:
    """Give one or several as a tuple; what is neither is told of when the handlers start."""
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, (kind, str, bytes)) else (value,)
