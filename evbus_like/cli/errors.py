"""Errors of the command line, shown as one sentence on stderr.

EvbusError
├── UsageError    the command line is wrong: exit code 2
└── NotFound      it names something that does not exist: exit code 1
"""

from __future__ import annotations

from evbus_like.engine.errors import EvbusError


class UsageError(EvbusError, ValueError):
    """The command line is incomplete, or makes no sense."""


class NotFound(EvbusError, LookupError):
    """The command line names something that does not exist."""
