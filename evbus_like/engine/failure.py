"""A failure: what the bus tells the log and the error callback about an event that did not get through."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from evbus_like.engine.errors import DeliveryError, TransientError, UnknownOutcome
from evbus_like.engine.event import Event


@dataclass(frozen=True)
class Failure:
    """One event that did not get through; `final` is False where the lane holds it and goes on trying."""

    exception: BaseException
    event: Event
    destination: str = ""
    attempts: int = 0
    final: bool = True


Report = Callable[[Failure], None]


def classify(error: BaseException, sent: bool = True) -> DeliveryError | None:
    """Say which of the four kinds an exception is; None for one whose kind cannot be known.

    A plugin of pop-evbus 7 raises whatever its library does: connection errors and time-outs can be told, the rest
    cannot.
    """
    if isinstance(error, DeliveryError):
        return error
    if isinstance(error, TimeoutError):
        return UnknownOutcome(f"no answer in time: {error}") if sent else TransientError(f"no answer in time: {error}")
    if isinstance(error, asyncio.CancelledError):  # a client library's, for nobody cancelled us
        return TransientError("the connection was lost")
    if isinstance(error, OSError):
        return TransientError(f"{type(error).__name__}: {error}")
    return None


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those that led to it; libraries make chains that end in themselves."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
