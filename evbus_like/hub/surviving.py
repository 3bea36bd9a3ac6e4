"""Calls of OpenTelemetry that may raise: an SDK, a propagator or an exporter is code of others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from time import monotonic
from typing import ParamSpec, TypeVar

from evbus_like.engine.foreign import text_of

T = TypeVar("T")
Other = TypeVar("Other")
P = ParamSpec("P")

REMIND = 60.0  # seconds between two log lines
log = logging.getLogger("evbus_like.bus")
_logged = -REMIND


def surviving(otherwise: Other) -> Callable[[Callable[P, T]], Callable[P, T | Other]]:
    """Make a function that calls OpenTelemetry return `otherwise` where that raises, and log it once a minute."""

    def of(function: Callable[P, T]) -> Callable[P, T | Other]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T | Other:
            try:
                return function(*args, **kwargs)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                _log(error)
                return otherwise

        return call

    return of


def _log(error: BaseException) -> None:
    global _logged
    if monotonic() - _logged > REMIND:
        _logged = monotonic()
        log.warning("OpenTelemetry failed, so that spans or metrics are missing; the bus goes on: %s", text_of(error))
