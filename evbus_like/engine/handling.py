"""A handling: what an event under way passes on to the events that its handler puts, and their receipts."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from evbus_like.engine.errors import BadEvent, EvbusError
from evbus_like.engine.event import check

if TYPE_CHECKING:
    from evbus_like.engine.bus import Bus
    from evbus_like.engine.receipt import Receipt
    from evbus_like.engine.receiving.received import ReceivedEvent

CORRELATION = "correlation-id"  # the id of the event that began the chain
CAUSE = "causation-id"  # the id of the event whose handler put this one
TRACE = "traceparent"  # https://www.w3.org/TR/trace-context/#traceparent-header
TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-|\Z)")
STATE = "tracestate"
CALLS = "nameko.call_id_stack"  # nameko's chain of calls, the latest last
CONTEXT = "nameko."  # headers of nameko's worker context, passed along the chain (nameko 2.14, nameko/messaging.py)
MOST_CALLS = 10  # entries of nameko's stack, as nameko keeps by default
# Bounds of what is passed on, for anybody may send anything. What is larger is not passed on.
MOST_ID = 255  # bytes of an id, a trace parent and an entry of the stack
MOST_STATE = 512  # bytes of tracestate (https://www.w3.org/TR/trace-context/#tracestate-limits)
MOST_CARRIED = 8192  # bytes of nameko's headers in all, names included; the largest are left out first


class NotDurable(EvbusError):
    """An event that a handler put was refused, or was neither delivered nor stored in time."""


class Handling:
    """One handling of one event: the context of what its handler puts and calls.

    `headers` are added to every event that the handler puts, below those that it gives itself. `receipts` belong to
    these events: the handled event is acknowledged only after they are delivered or stored.
    """

    __slots__ = ("correlation_id", "done", "event", "handler", "headers", "receipts", "running", "started")

    def __init__(self, event: ReceivedEvent, handler: str) -> None:
        self.event = event
        self.handler = handler  # "service.name"
        self.started = time.monotonic()
        self.running = False  # whether the handler was called: until then, errors are about the event
        self.done = False  # whether the handler has returned: events that its stray tasks put are not waited for
        self.receipts: list[Receipt] = []
        self.carry(event)

    def carry(self, event: ReceivedEvent) -> None:
        """Take over the headers of the handled event that belong to the whole chain of events."""
        given = event.headers
        cause = _within(event.id, MOST_ID)
        self.correlation_id = (_within(given[CORRELATION], MOST_ID) if CORRELATION in given else "") or cause
        known = {CORRELATION: self.correlation_id, CAUSE: cause}
        self.headers: dict[str, Any] = {name: value for name, value in known.items() if value}
        trace = child_of(given.get(TRACE))
        if trace:
            self.headers[TRACE] = trace
            if state := _within(given.get(STATE), MOST_STATE):
                self.headers[STATE] = state
        context = {name: value for name, value in given.items() if name.startswith(CONTEXT)}
        if context:
            self.headers.update(_carried(context, f"{self.handler}.{cause}"))

    def onto(self, headers: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Return the headers of an event that is put: those of the chain, and the handler's own above them."""
        return {**self.headers, **headers} if isinstance(headers, Mapping) else headers or self.headers

    def expect(self, receipt: Receipt) -> None:
        """Note that the handler put an event."""
        if not self.done:
            self.receipts.append(receipt)

    async def wait_until_durable(self, bus: Bus, timeout: float) -> None:
        """Return when every event that the handler put is delivered, in the outbox, or a dead letter.

        Raises NotDurable if one was refused, or is none of these within `timeout` seconds.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        for receipt in self.receipts:
            try:
                await receipt.wait_accepted(bus.deadlines, deadline)
                stored = {lane.name for lane in bus.lanes if lane.options.durable}
                if not stored.issuperset(receipt.pending):
                    await receipt.wait_delivered(bus.deadlines, deadline)
            except TimeoutError:
                waiting = ", ".join(receipt.pending) or "the bus"
                raise NotDurable(f"its event {receipt.id} still waits for {waiting} after {timeout:g} s") from None
            except EvbusError as error:
                raise NotDurable(f"its event {receipt.id} was refused: {error}") from error


# The handling under way in this task or thread; None outside handlers.
handling: ContextVar[Handling | None] = ContextVar("evbus_like_handling", default=None)
current = handling.get


def child_of(trace: Any) -> str | None:
    """Return the traceparent of a new span below this one; None if the value is not a traceparent."""
    found = TRACEPARENT.match(_text(trace))
    if found is None:
        return None
    version, trace_id, flags = found.groups()
    return f"{version}-{trace_id}-{secrets.token_hex(8)}-{flags}"


def _carried(context: Mapping[str, Any], call: str) -> dict[str, Any]:
    """Return the headers of nameko's context that are passed on, with this call on their stack."""
    sizes: dict[str, int] = {}
    for name, value in context.items():
        if name != CALLS and (size := _size(name, value)) <= MOST_CARRIED:
            sizes[name] = size
    total = sum(sizes.values())
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if total <= MOST_CARRIED:
            break
        total -= sizes.pop(name)
    carried = {name: context[name] for name in sizes}
    if calls := context.get(CALLS):
        calls = calls if isinstance(calls, list) else _text(calls).split(",")
        latest = [_within(each, MOST_ID) for each in calls[-MOST_CALLS + 1 :]]
        carried[CALLS] = [*filter(None, latest), call]
    return carried


def _size(name: str, value: Any) -> int:
    """Return the bytes of a received header; more than enough if it may not be sent, such as a table."""
    try:
        check("", "", {name: value}, None)
    except BadEvent:
        return MOST_CARRIED + 1
    values = value if isinstance(value, list) else [value]
    return len(name.encode()) + sum(len(_bytes(each)) + 5 for each in values)  # 5: its type and its length


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _within(value: Any, most: int) -> str:
    """Return a value as text if it is text of at most so many bytes, else an empty text."""
    text = _text(value)
    if len(text) > most:
        return ""
    try:
        return text if text.isascii() or len(text.encode()) <= most else ""
    except UnicodeEncodeError:  # a lone surrogate
        return ""


def _text(value: Any) -> str:
    if isinstance(value, bytes):  # from some sources
        return value.decode(errors="replace")
    return value if isinstance(value, str) else ""
