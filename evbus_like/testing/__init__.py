"""Test kit for applications and for authors of plugins.

`running` (a bus) and `handling` (a bus with the application's handlers and services) need only the package. The
pytest fixtures in `fixtures`, and `conformance`, need pytest and pytest-asyncio.
"""

import importlib.util

from evbus_like.engine.errors import CrashError, HandlerFailed, NotSeen
from evbus_like.hub.call_handler import Outcome
from evbus_like.hub.call_method import Reply
from evbus_like.hub.recorder import Sent
from evbus_like.testing.application import handling
from evbus_like.testing.bus import Bus
from evbus_like.testing.crashes import CrashPoint, CrashReport
from evbus_like.testing.running import eventually, new_hub, running

if importlib.util.find_spec("pytest"):
    import pytest

    # Before it is imported, so that a failed assert in it shows its values.
    pytest.register_assert_rewrite("evbus_like.testing.conformance")

__all__ = [
    "Bus",
    "CrashError",
    "CrashPoint",
    "CrashReport",
    "HandlerFailed",
    "NotSeen",
    "Outcome",
    "Reply",
    "Sent",
    "eventually",
    "handling",
    "new_hub",
    "running",
]
