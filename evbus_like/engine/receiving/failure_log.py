"""The log entry of a failed call."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
import os
import traceback
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol

from evbus_like.engine.failure import chain
from evbus_like.engine.foreign import text_of as text_of
from evbus_like.engine.receiving.disposition import Disposition, described
from evbus_like.engine.receiving.handler import HandlerOptions
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.rules import RETRY, Decision, Policy
from evbus_like.engine.receiving.sensitive import HIDDEN, redacted, shown, without_body

log = logging.getLogger("evbus_like.handlers")

PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = (PACKAGE, *(os.path.dirname(inspect.getfile(each)) for each in (asyncio, concurrent.futures)))
OURS = tuple(f"{folder}{os.sep}" for folder in FOLDERS)  # frames in here say nothing about the application


class Loggable(Protocol):
    """The options that say how failures are logged."""

    @property
    def expected_exceptions(self) -> Sequence[type[BaseException]]:
        """The exceptions logged without a traceback."""

    @property
    def sensitive(self) -> Sequence[str]:
        """The paths of the body that no log shows."""

    @property
    def log_bodies(self) -> bool:
        """Whether the log shows the rest of the body: the setting of that name."""


def log_handler_failure(
    ref: str,
    options: HandlerOptions,
    event: ReceivedEvent,
    error: BaseException,
    disposition: Disposition,
    text: str,
    policy: Policy,
) -> None:
    """Log a failure of an event handler, and what becomes of its event."""
    limit = f" of {policy.most}" if policy.on_error == RETRY else ""
    body = f", body {shown(event.body, options.sensitive)}" if options.log_bodies else ""
    log_failure(
        log,
        "%s failed with %s (attempt %d%s%s): %s; %s",
        (ref, event, event.attempt, limit, body, text, described(disposition)),
        error,
        event.body,
        event.raw,
        options,
    )


def log_failure(
    logger: logging.Logger,
    message: str,
    args: tuple[Any, ...],
    error: BaseException,
    body: Any,
    raw: bytes,
    options: Loggable,
) -> None:
    """Log expected exceptions as a warning, any other as an error with its traceback, without sensitive values."""
    if isinstance(error, (*options.expected_exceptions, Decision)):
        logger.warning(message, *args)
        return
    trace, after = traced(error, body, raw, options)
    logger.error(f"{message}%s", *args, after, exc_info=trace)


def traced(error: BaseException, body: Any, raw: bytes, options: Loggable) -> tuple[Any, str]:
    """Return the traceback for `exc_info`, or None and its text if that had to be redacted."""
    trace = (type(error), error, own(error.__traceback__))
    whole = "".join(traceback.format_exception(*trace))
    without = cleaned(whole, body, raw, options)
    if without == HIDDEN:
        without = "".join(_without_texts(error))
    return (trace, "") if without == whole else (None, f"\n{without.rstrip()}")


def _without_texts(error: BaseException) -> Iterator[str]:
    """Yield the frames and the classes of an exception and its causes, without their texts."""
    for each in chain(error):
        yield f"{type(each).__name__}: {HIDDEN}\n"
        yield from traceback.format_tb(own(each.__traceback__))


def cleaned(text: str, body: Any, raw: bytes, options: Loggable) -> str:
    """Return a text about a body as the log, a dead letter's reason and an answer may show it."""
    text = redacted(text, body, options.sensitive)
    return text if options.log_bodies else without_body(text, body, raw)


def clean_text_of(error: BaseException, body: Any, raw: bytes, options: Loggable) -> str:
    """Return an exception in one line, without what is sensitive and without the whole body."""
    text = cleaned(text_of(error), body, raw, options)
    return f"{type(error).__name__}: {HIDDEN}" if text == HIDDEN else text


def own(trace: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback that begins in application code; all of it if there is none."""
    begin = trace
    while begin is not None and begin.tb_frame.f_code.co_filename.startswith(OURS):
        begin = begin.tb_next
    return begin or trace
