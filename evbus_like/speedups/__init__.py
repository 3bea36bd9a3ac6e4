"""Hot functions in C, where they could be built. Each has a twin in Python, which is its specification."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def _load() -> Any:
    if os.environ.get("EVBUS_PUREPYTHON"):
        return None
    try:
        return import_module("evbus_like.speedups._built")
    except ImportError:  # there was no compiler
        return None


_built = _load()
IN_C = _built is not None
Record: Any = getattr(_built, "Record", None)  # what `read` of kafka/unreadable.py gives
RecordBatch: Any = getattr(_built, "RecordBatch", None)  # also None where the processor has no CRC-32C
TWINS: dict[str, Callable[..., Any]] = {}  # by name


def fastest(twin: F) -> F:
    """Return the function of this name in C; the twin itself if there is none, or EVBUS_PUREPYTHON is set."""
    TWINS[twin.__name__] = twin
    found: F = getattr(_built, twin.__name__, twin)
    return found
