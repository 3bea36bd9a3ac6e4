"""An inbox: that a handler has handled an event is committed together with what the handler does in a database."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from evbus_like.engine.backoff import Backoff
from evbus_like.engine.foreign import ends
from evbus_like.engine.handling import Handling
from evbus_like.engine.receiving.disposition import REPEAT, Disposition
from evbus_like.engine.receiving.invoker import DURABLE_WITHIN, HandlerInvoker, clear_cancellation
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.rules import REQUEUE
from evbus_like.engine.receiving.stats import ConsumerStats
from evbus_like.engine.receiving.threads import end_forked

log = logging.getLogger("evbus_like.handlers")

WAIT = (0.1, 5.0)  # seconds between two attempts to begin a transaction: the first, and the longest


class MarkHeld(Exception):
    """Another transaction, which has not ended yet, holds the mark of the event."""


class Transaction(Protocol):
    """A transaction that holds the mark of one event; `connection` is what the handler uses."""

    @property
    def connection(self) -> Any: ...

    async def commit(self) -> None:
        """Commit; raises if it is not certain that the mark is committed."""

    async def roll_back(self, error: BaseException) -> None:
        """Roll back, because of an error; raises nothing but cancellation."""


class Inbox(Protocol):
    """Where marks are kept. `stopping` is set when the handlers are to stop: no begin is tried again then."""

    label: str
    stopping: bool

    async def begin(self, listener: str, event_id: str) -> Transaction | None:
        """Begin a transaction with the mark of an event; None if it is marked already.

        Raises MarkHeld while another transaction holds it, and anything else if the database cannot be used.
        """

    async def close(self) -> None:
        """Close the connections."""


class InboxInvoker(HandlerInvoker):
    """Calls a handler in a transaction that also marks its event as handled; an event with a mark is not called.

    Until the handler begins, trouble of the database is no failure of the event: it waits.
    """

    inbox: Inbox
    listener: str  # the handler's name in marks
    stats: ConsumerStats | None = None
    _trouble = ""
    _has_said_no_id = False

    async def _call(self, event: ReceivedEvent, current: Handling) -> Disposition:
        current.running = True
        transaction = await self._begin(event)
        if isinstance(transaction, Disposition):
            return transaction
        event.transaction, task = transaction.connection, asyncio.current_task()
        try:
            disposition = await super()._call(event, current)
            if current.is_forked:
                end_forked(self.handler.ref)
            if task is not None and task.cancelling() and not self.closing:
                await clear_cancellation()
            current.done = True
            if current.receipts:  # before the commit: a repeat would not put them again
                await current.wait_until_durable(self._bus, DURABLE_WITHIN)
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError) and ends(error, task):
                raise
            if current.is_forked:
                end_forked(self.handler.ref, error)
            await transaction.roll_back(error)
            raise
        finally:
            event.transaction = None
        await transaction.commit()
        return disposition

    async def _begin(self, event: ReceivedEvent) -> Transaction | Disposition:
        """Return a transaction with the event's mark, or what becomes of the event without a call."""
        if not event.id and not self._has_said_no_id:
            self._has_said_no_id = True
            log.warning("%s gets events without an id, of which the inbox cannot know repeats", self.handler.ref)
        backoff = Backoff(*WAIT)
        while not event.revoked:
            try:
                transaction = await self.inbox.begin(self.listener, event.id)
            except MarkHeld:
                pause = 0.0
            except Exception as error:
                self._say(f"{self.inbox.label} cannot be used, events wait: {_text(error)}")
                pause = backoff.next()
            else:
                self._say("")
                return REPEAT if transaction is None else transaction
            if self.inbox.stopping:
                break
            await asyncio.sleep(pause)
        return Disposition(REQUEUE, reason="it waited for the inbox, and is delivered again")

    def _say(self, trouble: str) -> None:
        before, self._trouble = self._trouble, trouble
        if trouble == before:
            return
        if trouble:
            log.warning("%s: %s", self.handler.ref, trouble)
        else:
            log.warning("%s: %s can be used again", self.handler.ref, self.inbox.label)
        if self.stats is not None and self.stats.trouble in ("", before):
            self.stats.trouble = trouble


def _text(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
