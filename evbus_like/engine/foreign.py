"""What code of others raises: applications, plugins and client libraries may raise anything, also SystemExit.

The engine calls such code in tasks that have other events to send or handle. So it catches every exception, asks
`ends` whether the task must end all the same, and otherwise treats it as an error of the call.
"""

from __future__ import annotations

import asyncio
from typing import Any

from evbus_like.engine import errors

BUILTIN = (TimeoutError, ConnectionRefusedError, ConnectionError, OSError)  # the kinds that `classify` knows


class ForeignError(Exception):
    """Replaces what code of others raised where it is no Exception, as SystemExit, or cannot be converted to text."""


def ends(error: BaseException, task: asyncio.Task[Any] | None) -> bool:
    """Whether an exception of code that `task` called ends this task, and not the call alone.

    KeyboardInterrupt ends the process. CancelledError and GeneratorExit may be ours, or raised by that code.
    """
    if isinstance(error, asyncio.CancelledError):
        return task is None or task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt) or (isinstance(error, GeneratorExit) and not is_current(task))


def raise_if_cancelled(task: asyncio.Task[Any] | None, error: BaseException) -> None:
    """Raise if an exception ends `task`, also if the code that it called turned a cancellation into another error."""
    if ends(error, task):
        raise error
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error


def is_current(task: asyncio.Task[Any] | None) -> bool:
    """Whether this task runs now; it does not when its loop has gone and its coroutine is only closed."""
    try:
        return asyncio.current_task() is task
    except RuntimeError:  # no loop runs
        return False


def text_of(error: BaseException) -> str:
    """Return an exception in one line; works for exceptions that cannot be converted to text."""
    name = type(error).__name__
    try:
        return str(error) if isinstance(error, ForeignError) else f"{name}: {error}"
    except KeyboardInterrupt:
        raise
    except BaseException as trouble:
        return f"{name}, which has no text: {type(trouble).__name__}"


def tamed(error: BaseException) -> Exception:
    """Return what code of others raised as an Exception that has a text: itself, if it is one."""
    try:
        str(error)
        if isinstance(error, Exception):
            return error
    except KeyboardInterrupt:
        raise
    except BaseException:
        pass
    text = text_of(error)
    return of_kind(error, text, ForeignError(text))


def of_kind(error: BaseException, text: str, otherwise: Exception) -> Exception:
    """Return an exception of the same kind with this text; `otherwise` for a kind that the engine does not know."""
    if isinstance(error, errors.BatchRejected):
        return errors.BatchRejected(text, error.certain)
    for each in type(error).__mro__:
        if each.__module__ == errors.__name__ and issubclass(each, errors.DeliveryError):
            return each(text)
    builtin = next((each for each in BUILTIN if isinstance(error, each)), None)
    return otherwise if builtin is None else builtin(text)
