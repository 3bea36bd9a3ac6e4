"""A handling: what an event under way passes on to the events that its handler puts, and their receipts."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
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


_forks = 0  # of this process; cheaper to compare than its number, which is a system call


def _forked() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_forked)


class NotDurable(EvbusError):
    """An event that a handler put was refused, or was neither delivered nor stored in time."""


class Handling:
    """One handling of one event: the context of what its handler puts and calls.

    `headers` are added to every event that the handler puts, below those that it gives itself. `receipts` belong to
    these events: the handled event is acknowledged only after they are delivered or stored.
    """

    __slots__ = ("_forks", "_given", "_headers", "done", "event", "handler", "receipts", "running", "started")

    def __init__(self, event: ReceivedEvent, handler: str) -> None:
        self.event = event
        self.handler = handler  # "service.name"
        self.started = time.monotonic()
        self.running = False  # whether the handler was called: until then, errors are about the event
        self.done = False  # whether the handler has returned: events that its stray tasks put are not waited for
        self.receipts: list[Receipt] = []
        self._forks = _forks
        self._given = event.headers
        self._headers: dict[str, Any] | None = None

    def carry(self, event: ReceivedEvent) -> None:
        """Take over the headers of the handled event, which a middleware has changed."""
        self._given, self._headers = event.headers, None

    @property
    def headers(self) -> dict[str, Any]:
        """The headers of the handled event that belong to the whole chain of events; made when first needed."""
        if self._headers is None:
            self._headers = self._chain(self._given)
        return self._headers

    def _chain(self, given: Mapping[str, Any]) -> dict[str, Any]:
        cause = _within(self.event.id, MOST_ID)
        known = {CORRELATION: _within(given.get(CORRELATION), MOST_ID) or cause, CAUSE: cause}
        headers: dict[str, Any] = {name: value for name, value in known.items() if value}
        trace = child_of(given.get(TRACE))
        if trace:
            headers[TRACE] = trace
            if state := _within(given.get(STATE), MOST_STATE):
                headers[STATE] = state
        context = {name: value for name, value in given.items() if name.startswith(CONTEXT)}
        if context:
            headers.update(_carried(context, f"{self.handler}.{cause}"))
        return headers

    @property
    def correlation_id(self) -> str:
        """The id of the event that began the chain; empty if it is not known."""
        return str(self.headers.get(CORRELATION, ""))

    @property
    def is_forked(self) -> bool:
        """Whether the handler has forked, and this is the child."""
        return self._forks != _forks

    def onto(self, headers: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Return the headers of an event that is put: those of the chain, overridden by the handler's own."""
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


class BatchHandling(Handling):
    """One handling of several events. What it puts carries on the context of its event if there is one alone.

    Of several, it carries on the correlation id if they have the same; `event` is the first of them.
    """

    __slots__ = ("events",)

    def __init__(self, events: Sequence[ReceivedEvent], handler: str) -> None:
        self.events = events
        super().__init__(events[0], handler)

    def _chain(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if len(self.events) == 1:
            return super()._chain(given)
        ids = {_within(each.headers.get(CORRELATION), MOST_ID) or _within(each.id, MOST_ID) for each in self.events}
        return {CORRELATION: ids.pop()} if len(ids) == 1 and "" not in ids else {}


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
