"""What is wrong with a command line, for one sentence on stderr.

EvbusError
├── UsageError    what was asked for makes no sense: exit code 2
└── NotFound      it does, and is not there: exit code 1
"""

from __future__ import annotations

from evbus_like.engine.errors import EvbusError


class UsageError(EvbusError, ValueError):
    """The command line does not say what to do."""


class NotFound(EvbusError, LookupError):
    """What the command line names is not there."""
