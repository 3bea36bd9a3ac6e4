"""Failures of events: what is reported to the log and the error callback, and the kinds of exceptions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from evbus_like.engine.errors import ConnectionLost, DeliveryError, TransientError, UnknownOutcome
from evbus_like.engine.event import Event


@dataclass(frozen=True)
class Failure:
    """One event that was not delivered; `final` is False if its lane keeps it and retries.

    `stopped` says that it was lost from memory because its lane was closed.
    """

    exception: BaseException
    event: Event
    destination: str = ""
    attempts: int = 0
    final: bool = True
    stopped: bool = False

    def __post_init__(self) -> None:
        """Let the garbage collector go over the event: code of the application gets it, and may write into its body."""
        self.event.attach(self.event.receipt)


class UnknownKindError(TransientError):
    """Stands for an exception of unknown kind while its events are retried."""


Report = Callable[[Failure], None]


def classify(error: BaseException, sent: bool = True) -> DeliveryError | None:
    """Return an exception as a DeliveryError, None if its kind is unknown.

    A plugin of pop-evbus 7 raises whatever its library raises: only connection errors and timeouts can be recognized.
    `sent` says whether the events may have reached the destination.
    """
    if isinstance(error, DeliveryError):
        return error
    if isinstance(error, TimeoutError):
        return UnknownOutcome(f"no answer in time: {error}") if sent else TransientError(f"no answer in time: {error}")
    if isinstance(error, asyncio.CancelledError):  # raised by a client library; the task itself was not cancelled
        return TransientError("the connection was lost")
    if isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError) and sent:
        return ConnectionLost(f"{type(error).__name__}: {error}")
    if isinstance(error, OSError):
        return TransientError(f"{type(error).__name__}: {error}")
    return None


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes; the chains of some libraries are circular."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
