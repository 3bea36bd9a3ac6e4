"""What the log says of a call that failed."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
import os
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from evbus_like.engine.receiving.disposition import Disposition, said
from evbus_like.engine.receiving.handler import RETRY, HandlerOptions
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.sensitive import redacted, shown

log = logging.getLogger("evbus_like.handlers")

PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = (PACKAGE, *(os.path.dirname(inspect.getfile(each)) for each in (asyncio, concurrent.futures)))
NOT_THEIRS = tuple(f"{folder}{os.sep}" for folder in FOLDERS)  # whose frames tell an application nothing


def tell(
    ref: str, options: HandlerOptions, event: ReceivedEvent, error: BaseException, disposition: Disposition, text: str
) -> None:
    """Log a failure: an expected exception in a line, any other with its traceback; nothing sensitive in either."""
    expected = isinstance(error, options.expected_exceptions)
    trace, after = (None, "") if expected else traced(error, event.body, options.sensitive)
    most = f" of {options.attempts}" if options.on_error == RETRY else ""
    log.log(
        logging.WARNING if expected else logging.ERROR,
        "%s failed with %s (attempt %d%s, body %s): %s; %s%s",
        *(ref, event, event.attempt, most, shown(event.body, options.sensitive), text, said(disposition), after),
        exc_info=trace,
    )


def traced(error: BaseException, body: Any, sensitive: Sequence[str]) -> tuple[Any, str]:
    """Give the traceback for the log's `exc_info`, or as text where something sensitive is taken out of it."""
    trace = (type(error), error, own(error.__traceback__))
    if sensitive:
        whole = "".join(traceback.format_exception(*trace))
        without = redacted(whole, body, sensitive)
        if without != whole:
            return None, f"\n{without.rstrip()}"
    return trace, ""


def own(trace: TracebackType | None) -> TracebackType | None:
    """Give a traceback from where the application's code begins, all of it where there is none of that."""
    begin = trace
    while begin is not None and begin.tb_frame.f_code.co_filename.startswith(NOT_THEIRS):
        begin = begin.tb_next
    return begin or trace


def text_of(error: BaseException) -> str:
    """Give an exception in a line, whatever its text does."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception as trouble:
        return f"{type(error).__name__}, whose text cannot be had: {type(trouble).__name__}"
