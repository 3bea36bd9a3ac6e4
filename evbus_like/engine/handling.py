"""What goes on from an event that is being handled to the events that its handler puts."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evbus_like.engine.consuming.received import ReceivedEvent
    from evbus_like.engine.receipt import Receipt

CORRELATION = "correlation-id"  # the id of the event that began the chain
CAUSE = "causation-id"  # the id of the event whose handler put this one
TRACE = "traceparent"  # https://www.w3.org/TR/trace-context/#traceparent-header
STATE = "tracestate"
CALLS = "nameko.call_id_stack"  # nameko's chain of calls, the latest last
CONTEXT = "nameko."  # headers of nameko's worker context, which goes along the chain (nameko 2.14, nameko/messaging.py)
MOST_CALLS = 10  # of nameko's stack, as nameko keeps by default


class Handling:
    """One handling of one event: what its puts carry on, and what became of them.

    `headers` go with every event that the handler puts, below those that it gives itself. `receipts` are those of what
    it put: the event is acknowledged only when they are safe.
    """

    __slots__ = ("correlation_id", "done", "event", "headers", "receipts")

    def __init__(self, event: ReceivedEvent, handler: str) -> None:
        self.event = event
        self.receipts: list[Receipt] = []
        self.done = False  # whether the handler has returned: what its stray tasks put is not waited for
        given = event.headers
        self.correlation_id = str(given.get(CORRELATION) or event.id)
        self.headers: dict[str, Any] = {CORRELATION: self.correlation_id, CAUSE: event.id}
        trace = child_of(given.get(TRACE))
        if trace:
            self.headers[TRACE] = trace
            if given.get(STATE):
                self.headers[STATE] = given[STATE]
        for name, value in given.items():
            if name.startswith(CONTEXT) and name != CALLS:
                self.headers[name] = value
        calls = given.get(CALLS)
        if calls:
            calls = calls if isinstance(calls, list) else str(calls).split(",")
            self.headers[CALLS] = [*calls, f"{handler}.{event.id}"][-MOST_CALLS:]

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
    parts = str(trace).split("-") if trace else []
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2]:
        return None
    return f"{parts[0]}-{parts[1]}-{secrets.token_hex(8)}-{parts[3]}"
