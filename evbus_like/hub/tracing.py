"""Spans of what is put, published, received, handled, called and served; hub/traced.py says when they are made.

Names and attributes follow OpenTelemetry's conventions for messaging and RPC spans:
https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/. The context travels in the headers of the
propagator that the application has set up; by default traceparent, tracestate and baggage.

What an SDK, a propagator or an exporter raises costs a span or a header, and is logged once a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from evbus_like.engine.event import Event
from evbus_like.engine.handling import Handling
from evbus_like.engine.put import Confirm, Putter
from evbus_like.engine.receipt import Receipt
from evbus_like.engine.receiving.batch_invoker import BatchInvoker
from evbus_like.engine.receiving.disposition import DEAD_LETTER, Disposition
from evbus_like.engine.receiving.inbox import InboxInvoker
from evbus_like.engine.receiving.invoker import HandlerInvoker
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.rpc.client import Client
from evbus_like.engine.rpc.service import Reply, ServiceInvoker
from evbus_like.engine.sending.destination import Outcomes
from evbus_like.hub.application.middleware_putter import MiddlewarePutter
from evbus_like.hub.profiles.destination import PluginDestination
from evbus_like.hub.surviving import surviving
from evbus_like.version import version

MOST_LINKS = 128  # of a span, as SDKs keep by default
MOST_HEADER = 8192  # bytes of a received header that is read, as W3C's baggage allows
NOWHERE = Context()  # has no span: spans of batches belong to no trace of a single event
SYSTEMS = {"amqp": "rabbitmq", "internal": "memory"}


@cache
def _tracer_of(provider: trace.TracerProvider) -> trace.Tracer:
    return provider.get_tracer("evbus_like", version)


def _tracer() -> trace.Tracer:
    return _tracer_of(trace.get_tracer_provider())


def _system(place: str) -> str:
    provider = place.partition(":")[0]
    return SYSTEMS.get(provider, provider)


def _attributes(system: str, does: str, kind: str, destination: str, **more: Any) -> dict[str, Any]:
    given = {
        "messaging.system": system,
        "messaging.operation.name": does,
        "messaging.operation.type": kind,
        "messaging.destination.name": destination,
        **{name.replace("__", "."): value for name, value in more.items()},
    }
    return {name: value for name, value in given.items() if value not in (None, "")}


@surviving(None)
def _note(span: Span, name: str, value: Any) -> None:
    span.set_attribute(name, value)


@surviving(None)
def _failed(span: Span, error: BaseException) -> None:
    """Mark a span as failed by the kind of the error alone: its text may quote a body."""
    span.set_attribute("error.type", type(error).__qualname__)
    span.set_status(Status(StatusCode.ERROR, type(error).__name__))


@contextmanager
def _span(
    name: str,
    kind: SpanKind,
    attributes: Mapping[str, Any],
    context: Context | None = None,
    links: Sequence[Link] = (),
) -> Iterator[Span]:
    """Make a span around the block; what the block raises marks it as failed."""
    entered = ExitStack()
    span = _begun(entered, name, kind, attributes, context, links) or trace.INVALID_SPAN
    try:
        yield span
    except BaseException as error:
        _failed(span, error)
        raise
    finally:
        surviving(None)(entered.close)()


@surviving(None)
def _begun(
    entered: ExitStack,
    name: str,
    kind: SpanKind,
    attributes: Mapping[str, Any],
    context: Context | None,
    links: Sequence[Link],
) -> Span:
    if context is not None:
        entered.callback(detach, attach(context))
    return entered.enter_context(
        _tracer().start_as_current_span(
            name,
            kind=kind,
            attributes=attributes,
            links=links,
            record_exception=False,
            set_status_on_exception=False,
        )
    )


def _with_context(headers: Any) -> Any:
    """Return the headers of an event that is put with the current context, below the application's own headers."""
    if headers is not None and not isinstance(headers, Mapping):
        return headers  # `put` says what is wrong with them
    return {**_carrier(), **(headers or {})}


def _carrier(given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return headers with the current context; without it where the propagator fails."""
    carrier: dict[str, Any] = dict(given or {})
    return carrier if surviving(False)(_injected)(carrier) else dict(given or {})


def _injected(carrier: dict[str, Any]) -> bool:
    propagate.inject(carrier)
    return True


@surviving(NOWHERE)
def _context_of(headers: Mapping[str, Any] | None) -> Context:
    """Return the context that a stranger's headers carry, an empty one where they carry none."""
    carrier = {}
    for name in propagate.get_global_textmap().fields:
        value = (headers or {}).get(name)
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        if isinstance(value, str) and len(value) <= MOST_HEADER:
            carrier[name] = value
    return propagate.extract(carrier, NOWHERE)


class TracedPutter(Putter):
    """Puts events within spans, whose context the events carry."""

    def put_nowait(
        self,
        routing_key: Any = "",
        body: Any = None,
        profile: Any = "default",
        headers: Any = None,
        key: Any = None,
        within: Any = None,
        **options: Any,
    ) -> str:
        """Queue an event."""
        with _putting(routing_key, profile) as span:
            made = super().put_nowait(routing_key, body, profile, _with_context(headers), key, within, **options)
            _note(span, "messaging.message.id", made)
            return made

    async def put(
        self,
        routing_key: Any = "",
        body: Any = None,
        profile: Any = "default",
        headers: Any = None,
        key: Any = None,
        confirm: Confirm = "accepted",
        timeout: float | None = None,
        within: Any = None,
        **options: Any,
    ) -> Receipt:
        """Put an event."""
        with _putting(routing_key, profile) as span:
            headers = _with_context(headers)
            receipt = await super().put(routing_key, body, profile, headers, key, confirm, timeout, within, **options)
            _note(span, "messaging.message.id", receipt.id)
            return receipt


class TracedMiddlewarePutter(TracedPutter, MiddlewarePutter):
    """Puts events within spans, through the middleware."""


def _putting(routing_key: Any, profile: Any) -> AbstractContextManager[Span]:
    named = {"evbus__routing_key": str(routing_key)[:255]}
    attributes = _attributes("evbus_like", "put", "create", str(profile)[:255], **named)
    return _span(f"put {str(profile)[:255]}", SpanKind.PRODUCER, attributes)


class TracedDestination(PluginDestination):
    """Publishes each batch within a span that links to the events' own."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        if self.publish_now is not None:
            self.publish_now = self._traced_now(self.publish_now)

    def _traced_now(self, publish: Callable[[Sequence[Event]], int]) -> Callable[[Sequence[Event]], int]:
        def publish_now(events: Sequence[Event]) -> int:
            with self._publishing(events):
                return publish(events)

        return publish_now

    async def publish(self, events: Sequence[Event]) -> Outcomes | None:
        """Publish a batch."""
        with self._publishing(events) as span:
            outcomes = await super().publish(events)
            for outcome in outcomes or ():
                if isinstance(outcome, Exception):
                    _failed(span, outcome)
                    break
            return outcomes

    def _publishing(self, events: Sequence[Event]) -> AbstractContextManager[Span]:
        links = [link for event in events[:MOST_LINKS] if (link := _link(event)) is not None]
        place = f"{self.provider}:{self.profile}"
        attributes = _attributes(_system(place), "publish", "send", self.profile)
        attributes["messaging.batch.message_count"] = len(events)
        return _span(f"publish {place}", SpanKind.CLIENT, attributes, NOWHERE, links)


class TracedHandlerInvoker(HandlerInvoker):
    """Handles each event within the trace of its put."""

    async def call(self, event: ReceivedEvent) -> Disposition:
        """Handle one event."""
        attributes = _attributes(
            "evbus_like", "receive", "receive", event.service or event.routing_key, messaging__message__id=event.id
        )
        attributes["evbus.routing_key"] = event.routing_key
        name = f"receive {self.handler.service}.{self.handler.name}"
        with _span(name, SpanKind.CONSUMER, attributes, _context_of(event.headers)) as span:
            disposition = await super().call(event)
            if disposition.kind == DEAD_LETTER:
                _mark(span, "dead letter")
            return disposition

    async def _run(self, function: Any, is_async: bool, timeout: float | None, /, *args: Any, **kwargs: Any) -> Any:
        attributes = _attributes("evbus_like", "handle", "process", self.handler.service)
        with _span(f"handle {self.handler.service}.{self.handler.name}", SpanKind.INTERNAL, attributes):
            return await super()._run(function, is_async, timeout, *args, **kwargs)

    def _failed(self, event: ReceivedEvent, error: BaseException, current: Handling) -> Disposition:
        _failed(_current(), error)
        return super()._failed(event, error, current)


class TracedBatchInvoker(BatchInvoker):
    """Handles each batch in a trace of its own, which has links to those of the events."""

    async def call_batch(self, events: Sequence[ReceivedEvent]) -> list[Disposition]:
        """Handle events."""
        attributes = _attributes("evbus_like", "receive", "receive", events[0].service or events[0].routing_key)
        attributes["messaging.batch.message_count"] = len(events)
        found = (trace.get_current_span(_context_of(each.headers)).get_span_context() for each in events[:MOST_LINKS])
        links = [Link(each) for each in found if each.is_valid]
        name = f"receive {self.handler.service}.{self.handler.name}"
        with _span(name, SpanKind.CONSUMER, attributes, NOWHERE, links) as span:
            dispositions = await super().call_batch(events)
            if any(each.kind == DEAD_LETTER for each in dispositions):
                span.set_status(Status(StatusCode.ERROR, "dead letter"))
            return dispositions


class TracedServiceInvoker(ServiceInvoker):
    """Answers each request within the trace of its call."""

    async def call(self, event: ReceivedEvent) -> Disposition:
        """Answer one request."""
        method = event.routing_key.rpartition(".")[2]
        known = method if method in self.methods else "unknown method"  # a stranger's name is no name of a span
        with _span(
            f"serve {self.service}.{known}", SpanKind.SERVER, _rpc(self.service, known), _context_of(event.headers)
        ):
            return await super().call(event)

    def _failed(self, event: ReceivedEvent, error: BaseException, current: Handling) -> Reply:
        _failed(_current(), error)
        return super()._failed(event, error, current)


class TracedClient(Client):
    """Calls within spans, whose context the requests carry."""

    async def call(self, service: str, method: str, body: bytes, headers: Mapping[str, Any], timeout: float) -> Any:
        """Send a request and return the body of its answer."""
        with _span(f"call {service}.{method}", SpanKind.CLIENT, _rpc(service, method)) as span:
            answer = await super().call(service, method, body, self._carrying(headers), timeout)
            if isinstance(answer, dict) and (error := answer.get("error")):
                kind = str(error.get("exc_type") if isinstance(error, dict) else "unknown")[:255]
                _note(span, "error.type", kind)
                _mark(span, kind)
            return answer

    async def send(
        self, service: str, method: str, body: bytes, headers: Mapping[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        """Send a request without waiting for its answer."""
        with _span(f"call {service}.{method}", SpanKind.CLIENT, _rpc(service, method)):
            await super().send(service, method, body, self._carrying(headers), *args, **kwargs)

    @staticmethod
    def _carrying(headers: Mapping[str, Any]) -> dict[str, Any]:
        """Return the headers with the current context, which is below the one of a handler that calls."""
        return _carrier(headers)


@surviving(None)
def _link(event: Event) -> Link | None:
    """Return a link to the span of an event; None if it has none."""
    found = trace.get_current_span(_context_of(event.headers)).get_span_context()
    return Link(found, {"messaging.message.id": event.id}) if found.is_valid else None


@surviving(None)
def _mark(span: Span, why: str) -> None:
    span.set_status(Status(StatusCode.ERROR, why))


@surviving(trace.INVALID_SPAN)
def _current() -> Span:
    return trace.get_current_span()


def _rpc(service: str, method: str) -> dict[str, str]:
    return {"rpc.system": "nameko", "rpc.service": service, "rpc.method": method}


class TracedInboxInvoker(TracedHandlerInvoker, InboxInvoker):
    """Makes a span for each event of a handler with an inbox."""


TRACED: dict[type[Any], type[Any]] = {
    Putter: TracedPutter,
    MiddlewarePutter: TracedMiddlewarePutter,
    PluginDestination: TracedDestination,
    HandlerInvoker: TracedHandlerInvoker,
    BatchInvoker: TracedBatchInvoker,
    InboxInvoker: TracedInboxInvoker,
    ServiceInvoker: TracedServiceInvoker,
    Client: TracedClient,
}
