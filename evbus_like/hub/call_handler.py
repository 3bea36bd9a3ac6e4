"""Calls handlers without a broker, on a bus in memory: for tests and for `evbus call-handler`."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evbus_like.engine.errors import HandlerError, HandlerFailed
from evbus_like.engine.receiving.batch_invoker import HELD, BatchInvoker, errors_of
from evbus_like.engine.receiving.disposition import DONE, REPEAT, Disposition, is_unhandled
from evbus_like.engine.receiving.handler import Handler
from evbus_like.engine.receiving.invoker import HandlerInvoker
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import is_pattern, matches
from evbus_like.engine.suggest import did_you_mean, shown
from evbus_like.hub import decoding, plugins
from evbus_like.hub.application import handlers, responses
from evbus_like.hub.recorder import Recorder, Sent
from evbus_like.hub.runtime import Hub

SOURCE = "internal:*"
JSON = "application/json"
LEAVE = 2.0  # seconds that a cancelled handler may take


@dataclass
class Outcome:
    """The outcome of one call of a handler.

    It has `handler`, `event`, `disposition` (what becomes of the event), `error` (None after success), and `sent`, the
    events that the handler put.
    """

    handler: str
    event: ReceivedEvent
    disposition: Disposition
    error: BaseException | None = None
    sent: list[Sent] = field(default_factory=list)

    @property
    def verdict(self) -> Disposition:
        """The disposition, by its earlier name."""
        return self.disposition


def in_memory(handler: Handler, with_inbox: bool = False) -> Handler:
    """Return the handler with a profile in memory, without options that need a broker, a disk or a database."""
    inbox = handler.options.inbox if with_inbox else ""
    options = replace(handler.options, profile=SOURCE, since=None, dedup_durable=False, inbox=inbox)
    return replace(handler, options=options)


def every(hub: Hub) -> list[Handler]:
    """Return the handlers of events and of answers; raises HandlerError."""
    return [*handlers.found(hub), *(each.handler for each in responses.found(hub))]


def named(hub: Hub, wanted: Any, routing_key: str | None = None) -> Handler:
    """Return a handler by its function on the hub or by "service.name"; raises HandlerError, which names similar ones.

    Of a function with several marks, the one whose event types match the routing key is chosen, else the first.
    """
    found = every(hub)
    chosen = [each for each in found if _is(hub, each, wanted)]
    if not chosen:
        known = dict.fromkeys(f"{each.service}.{each.name}" for each in found)
        shows = shown(wanted) if isinstance(wanted, str) else str(getattr(wanted, "__name__", wanted))
        raise HandlerError(f"there is no handler {shows}; {did_you_mean(str(wanted), known)}")
    fitting = [each for each in chosen if routing_key and _wants(each, routing_key)]
    return (fitting or chosen)[0]


def _is(hub: Hub, handler: Handler, wanted: Any) -> bool:
    if isinstance(wanted, str):
        return wanted in (f"{handler.service}.{handler.name}", handler.ref, f"hub.{handler.ref}")
    function = getattr(wanted, "func", wanted)
    marked: list[Any] = [*handlers.marked(hub), *responses.marked(hub)]
    return any(ref == handler.ref and each.func is function for ref, _, each, *_ in marked)


def _wants(handler: Handler, routing_key: str) -> bool:
    return any(matches(each, routing_key) for each in handler.options.event_types)


_count = itertools.count(1)


def event_for(
    hub: Hub,
    handler: Handler,
    body: Any = None,
    headers: Mapping[str, Any] | None = None,
    routing_key: str | None = None,
    transaction: Any = None,
    **more: Any,
) -> ReceivedEvent:
    """Make an event as a broker would deliver it: the body serialized, bytes unchanged; `more` are its other fields."""
    if routing_key is None:
        plain = [each for each in handler.options.event_types if not is_pattern(each)]
        if not plain:
            shows = ", ".join(handler.options.event_types)
            raise HandlerError(f"{handler.ref} is for events like {shows}: say which one is meant, by its routing key")
        routing_key = plain[0]
    raw, content_type = body, ""
    if not isinstance(body, bytes):
        raw, content_type = plugins.serializer(hub, "json").pack(body, ()), JSON
    more = {"service": handler.options.source, "id": f"call-{os.getpid():x}-{next(_count):x}", **more}
    event = ReceivedEvent(raw, routing_key, headers=headers, **{"content_type": content_type, **more})
    event.transaction = transaction
    return event


async def call(hub: Hub, handler: Handler, event: ReceivedEvent, tap: Recorder) -> Outcome:
    """Call a handler with an event as a consumer does, and return the outcome; nothing is settled."""
    watched, failures = watch(handler)
    options = handler.options
    decode = decoding.decoder(hub, options.accept, options.default_format, declared=handler.declared)
    kind = BatchInvoker if options.batch else HandlerInvoker
    invoker = kind(watched, decode, hub.evbus.RUNTIME.bus, max(len(event.raw), 1))
    calling = asyncio.create_task(invoker.call(event), name=f"evbus_like call {handler.ref}")
    try:
        disposition = await asyncio.shield(calling)
    except asyncio.CancelledError:  # our own cancellation must not become a disposition
        invoker.closing = True
        calling.cancel()
        await asyncio.wait([calling], timeout=LEAVE)
        raise
    finally:
        invoker.close()
    sent = [each for each in tap.sent if each.cause == event.id]
    return Outcome(
        f"{handler.service}.{handler.name}", event, disposition, failures.pop(event, None) or _why(disposition), sent
    )


def watch(handler: Handler) -> tuple[Handler, dict[ReceivedEvent, BaseException]]:
    """Return the handler wrapped to record its exceptions, and these exceptions by event."""
    failures: dict[ReceivedEvent, BaseException] = {}

    if handler.options.batch:
        return _watch_batches(handler, failures), failures

    async def call_async(event: ReceivedEvent) -> None:
        with _noting(failures, event):
            await handler.call(event)

    def call_sync(event: ReceivedEvent) -> Any:
        with _noting(failures, event):
            return handler.call(event)

    return replace(handler, call=call_async if handler.is_async else call_sync), failures


def _watch_batches(handler: Handler, failures: dict[ReceivedEvent, BaseException]) -> Handler:
    def note(events: Sequence[ReceivedEvent], result: Any) -> Any:
        errors = [result] * len(events) if isinstance(result, Exception) else errors_of(result, len(events))
        for event, error in zip(events, errors, strict=True):
            failures.pop(event, None)
            if error is not None:
                failures[event] = error
        return result

    async def call_async(events: Sequence[ReceivedEvent]) -> Any:
        try:
            return note(events, await handler.call(events))
        except Exception as error:
            note(events, error)
            raise

    def call_sync(events: Sequence[ReceivedEvent]) -> Any:
        try:
            return note(events, handler.call(events))
        except Exception as error:
            note(events, error)
            raise

    return replace(handler, call=call_async if handler.is_async else call_sync)


class _noting:
    def __init__(self, failures: dict[ReceivedEvent, BaseException], event: ReceivedEvent) -> None:
        self._failures, self._event = failures, event

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: Any, error: BaseException | None, _trace: Any) -> None:
        if error is not None and not isinstance(error, asyncio.CancelledError):
            self._failures[self._event] = error


def _why(disposition: Disposition) -> BaseException | None:
    uncalled = is_unhandled(disposition) or disposition is REPEAT
    return None if disposition is DONE or uncalled else HandlerFailed(disposition.reason)


def watch_calls(invoker: HandlerInvoker, report: Callable[[Outcome], None]) -> None:
    """Make a consumer's invoker report the outcome of each call."""
    invoker.handler, failures = watch(invoker.handler)
    handle, name = invoker.call, f"{invoker.handler.service}.{invoker.handler.name}"
    if isinstance(invoker, BatchInvoker):
        handle_all = invoker.call_batch

        async def call_batch(events: Sequence[ReceivedEvent]) -> list[Disposition]:
            dispositions = await handle_all(events)
            for event, disposition in zip(events, dispositions, strict=True):
                if disposition is not HELD:
                    report(Outcome(name, event, disposition, failures.pop(event, None) or _why(disposition)))
            return dispositions

        invoker.call_batch = call_batch  # type: ignore[method-assign]
        return

    async def call(event: ReceivedEvent) -> Disposition:
        disposition = await handle(event)
        report(Outcome(name, event, disposition, failures.pop(event, None) or _why(disposition)))
        return disposition

    invoker.call = call  # type: ignore[method-assign]
