"""Calls a handler of batches, and finds the events that make one fail."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import groupby
from time import time
from typing import TYPE_CHECKING, Any

from evbus_like.engine.errors import HandlerError, Refused
from evbus_like.engine.expiry import EXPIRES, expired
from evbus_like.engine.handling import BatchHandling, Handling, NotDurable
from evbus_like.engine.receiving.breaker import OPEN
from evbus_like.engine.receiving.disposition import AGAIN, DONE, EXPIRED, Disposition
from evbus_like.engine.receiving.invoker import HandlerInvoker
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.rules import REJECT, REQUEUE, RETRY, Reject, Requeue, Retry, decision
from evbus_like.engine.suggest import shown

if TYPE_CHECKING:
    from evbus_like.engine.receiving.deaths import Deaths

log = logging.getLogger("evbus_like.handlers")

HELD = Disposition("held")  # it was not called: an earlier one of its key comes first, or the breaker has opened
READY = Disposition("ready")  # it is to be called
DECISIONS = {RETRY: Retry, REQUEUE: Requeue, REJECT: Reject}
Results = dict[ReceivedEvent, Disposition]


class BatchInvoker(HandlerInvoker):
    """Calls a handler with a list of events; each of them gets a disposition of its own.

    If the handler fails, the batch is halved, and each half is called again, until the events are found that it fails
    with. Events of one key stay in their order.
    """

    async def call(self, event: ReceivedEvent) -> Disposition:
        """Handle one event, as a batch."""
        return (await self.call_batch([event]))[0]

    async def call_batch(self, events: Sequence[ReceivedEvent]) -> list[Disposition]:
        """Handle events, and return their dispositions; raises only what stops the worker."""
        results: Results = {}
        for event in events:
            if EXPIRES in event.headers and expired(event.headers, time()):
                results[event] = EXPIRED
            elif self._looks_at_it:
                results[event] = await self._prepared(event)
            else:
                problem = self.read(event)
                results[event] = self._unreadable(event, problem) if problem else READY
        ready = [event for event in events if results[event] is READY]
        if self.deaths is None:
            await self._call_some(ready, results, set())
        else:
            await self._call_noted(ready, results, self.deaths)
        return [results[event] for event in events]

    async def _call_noted(self, events: Sequence[ReceivedEvent], results: Results, deaths: Deaths) -> None:
        """Call events that may have been delivered before with a note; alone, those that have ended a worker."""
        repeats = {event for event in events if event.redelivered or event.may_repeat}
        suspects = {event for event in repeats if deaths.count(self.handler.ref, event)}
        held: set[Hashable] = set()
        for is_suspect, group in groupby(events, suspects.__contains__):
            if not is_suspect:
                some = [*group]
                with deaths.begun(self.handler.ref, repeats.intersection(some)):
                    await self._call_some(some, results, held)
                continue
            for event in group:
                await self._call_suspect(event, results, held, deaths)

    async def _prepared(self, event: ReceivedEvent) -> Disposition:
        """Decode an event, and pass it through middleware and filter; returns READY, or what becomes of it."""
        return await self._invoke_once(event, Handling(event, f"{self.handler.service}.{self.handler.name}"))

    async def _call_suspect(self, event: ReceivedEvent, results: Results, held: set[Hashable], deaths: Deaths) -> None:
        """Call an event that has ended a worker, or give it up."""
        async with deaths.noted(self.handler.ref, event) as problem:
            if problem:
                current = Handling(event, f"{self.handler.service}.{self.handler.name}")
                results[event] = HandlerInvoker._failed(self, event, Refused(problem), current)
            else:
                await self._call_some([event], results, held)

    async def _call_some(self, events: Sequence[ReceivedEvent], results: Results, held: set[Hashable]) -> None:
        """Call events at once; if that fails, in halves. Of the keys in `held`, an event is to be handled again."""
        for event in events:
            if event.order in held:
                results[event] = HELD
        if self.breaker is not None and self.breaker.state == OPEN:
            results.update((event, HELD) for event in events)
        events = [event for event in events if results[event] is READY]
        if not events:
            return
        name = f"{self.handler.service}.{self.handler.name}"
        outcomes: Any = await self._invoke_once(events[0], BatchHandling(events, name))
        if isinstance(outcomes, Halve):
            log.warning(
                "%s failed with %d events at once (%s); each half is called again, to find the ones that fail",
                *(self.handler.ref, len(events), type(outcomes.error).__name__),
            )
            middle = len(events) // 2
            await self._call_some(events[:middle], results, held)
            await self._call_some(events[middle:], results, held)
            return
        bodies = [event.body for event in events]
        counts = Counter(map(id, outcomes))
        for event, error in zip(events, outcomes, strict=True):
            quoted = event.body if counts[id(error)] == 1 else bodies
            results[event] = DONE if error is None else self._disposition(event, error, quoted)
            if error is None and self.breaker is not None:
                self.breaker.succeeded()
            if results[event].kind in (RETRY, REQUEUE, AGAIN) and event.order is not None:
                held.add(event.order)

    async def _process(self, event: ReceivedEvent, current: Handling) -> Any:
        """Prepare an event, or call the handler; returns the error of each event, None for those that are done."""
        if not isinstance(current, BatchHandling):
            if problem := self.read(event):
                return self._unreadable(event, problem)
            return await self._look(event, current) or READY
        current.running = True
        events = current.events
        result = await self._run(self.handler.call, self.handler.is_async, self.options.timeout, list(events))
        return errors_of(result, len(events))

    def _failed(self, event: ReceivedEvent, error: BaseException, current: Handling) -> Any:
        if not isinstance(current, BatchHandling):
            return super()._failed(event, error, current)
        of_all = decision(error) is not None or isinstance(error, (NotDurable, WrongOutcomes))
        return [error] * len(current.events) if of_all or len(current.events) == 1 else Halve(error)

    def _disposition(self, event: ReceivedEvent, error: BaseException, quoted: Any) -> Disposition:
        """Return the disposition of one event, and log it; the error may quote this body, or these bodies."""
        own, event.body = event.body, quoted
        try:
            current = Handling(event, self.handler.name)
            current.running = True
            return HandlerInvoker._failed(self, event, error, current)
        finally:
            event.body = own


class Halve:
    """The outcome of a call that failed with several events."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class WrongOutcomes(HandlerError):
    """A handler of batches returned a list that does not say what became of each event."""


def errors_of(result: Any, count: int) -> list[BaseException | None]:
    """Return the error of each event by what a handler of batches returned; raises WrongOutcomes."""
    if not isinstance(result, (list, tuple)):
        return [_error(result) if _is_outcome(result) else None] * count
    if len(result) != count:
        raise WrongOutcomes(f"it returned {len(result)} outcomes for {count} events; return one for each, or None")
    for number, each in enumerate(result, start=1):
        if each is not None and not _is_outcome(each):
            raise WrongOutcomes(
                f"outcome {number} must be None, an exception, evbus.RETRY, evbus.REQUEUE or evbus.REJECT, not"
                f" {shown(each)}"
            )
    return [None if each is None else _error(each) for each in result]


def _is_outcome(value: Any) -> bool:
    is_class = isinstance(value, type) and issubclass(value, Exception)
    return is_class or isinstance(value, BaseException) or (isinstance(value, str) and value in DECISIONS)


def _error(value: Any) -> BaseException:
    made: BaseException = value
    if isinstance(value, str):
        made = DECISIONS[value]()
    elif isinstance(value, type):
        made = value()
    if isinstance(made, asyncio.CancelledError):  # of a gather; the call itself was not cancelled
        made = RuntimeError("a task of the handler was cancelled")
    return made
