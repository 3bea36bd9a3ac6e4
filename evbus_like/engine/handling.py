"""What goes on from an event that is being handled to the events that its handler puts."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from evbus_like.engine.errors import BadEvent
from evbus_like.engine.event import check

if TYPE_CHECKING:
    from evbus_like.engine.receipt import Receipt
    from evbus_like.engine.receiving.received import ReceivedEvent

CORRELATION = "correlation-id"  # the id of the event that began the chain
CAUSE = "causation-id"  # the id of the event whose handler put this one
TRACE = "traceparent"  # https://www.w3.org/TR/trace-context/#traceparent-header
TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-|\Z)")
STATE = "tracestate"
CALLS = "nameko.call_id_stack"  # nameko's chain of calls, the latest last
CONTEXT = "nameko."  # headers of nameko's worker context, which goes along the chain (nameko 2.14, nameko/messaging.py)
MOST_CALLS = 10  # of nameko's stack, as nameko keeps by default


class Handling:
    """One handling of one event: what its puts carry on, and what became of them.

    `headers` go with every event that the handler puts, below those that it gives itself. `receipts` are those of what
    it put: the event is acknowledged only when they are safe.
    """

    __slots__ = ("correlation_id", "done", "event", "handler", "headers", "receipts")

    def __init__(self, event: ReceivedEvent, handler: str) -> None:
        self.event = event
        self.handler = handler  # "service.name"
        self.receipts: list[Receipt] = []
        self.done = False  # whether the handler has returned: what its stray tasks put is not waited for
        given = event.headers
        self.correlation_id = _text(given.get(CORRELATION)) or event.id
        known = {CORRELATION: self.correlation_id, CAUSE: event.id}
        self.headers: dict[str, Any] = {name: value for name, value in known.items() if value}
        trace = child_of(given.get(TRACE))
        if trace:
            self.headers[TRACE] = trace
            if state := _text(given.get(STATE)):
                self.headers[STATE] = state
        for name, value in given.items():
            if name.startswith(CONTEXT) and name != CALLS and _fits(name, value):
                self.headers[name] = value
        calls = given.get(CALLS)
        if calls:
            calls = calls if isinstance(calls, list) else _text(calls).split(",")
            self.headers[CALLS] = [*map(str, calls), f"{handler}.{event.id}"][-MOST_CALLS:]

    def onto(self, headers: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Give the headers of an event that is put: what is carried on, and the caller's own above it."""
        return {**self.headers, **headers} if isinstance(headers, Mapping) else headers or self.headers

    def expect(self, receipt: Receipt) -> None:
        """Note that the handler put an event."""
        if not self.done:
            self.receipts.append(receipt)


# The handling under way in this task or thread, None outside of handlers.
handling: ContextVar[Handling | None] = ContextVar("evbus_like_handling", default=None)
current = handling.get


def child_of(trace: Any) -> str | None:
    """Give the traceparent of a new span below this one; None for what is no traceparent."""
    found = TRACEPARENT.match(_text(trace))
    if found is None:
        return None
    version, trace_id, flags = found.groups()
    return f"{version}-{trace_id}-{secrets.token_hex(8)}-{flags}"


def _fits(name: str, value: Any) -> bool:
    """Whether a header that came in can go out: a source may give what `put` refuses, such as a table."""
    try:
        check("", "", {name: value}, None)
    except BadEvent:
        return False
    return True


def _text(value: Any) -> str:
    if isinstance(value, bytes):  # some sources give headers so
        return value.decode(errors="replace")
    return value if isinstance(value, str) else ""
