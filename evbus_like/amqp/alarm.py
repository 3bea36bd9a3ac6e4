"""RabbitMQ's memory and disk alarms: with connection.blocked it says that it reads no more of what is published.

aiormq takes that frame and tells its log alone. So `watch` stands before the two private methods that take it, checked
like the attributes in `batch.py`. RabbitMQ 3 says it when a connection publishes during the alarm: one batch is
under way by then, and RabbitMQ reads and confirms it when the alarm is over.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

BLOCKED = "_Connection__handle_connection_blocked"
UNBLOCKED = "_Connection__handle_connection_unblocked"


def watch(connection: Any, tell: Callable[[str | None], None]) -> bool:
    """Have `tell` called with RabbitMQ's reason when it blocks this connection of aiormq, and with None afterwards.

    None is told when the block is over, and when the connection is closed or lost. Gives False where this aiormq is
    not as expected; then nothing is told.
    """
    block, unblock = getattr(connection, BLOCKED, None), getattr(connection, UNBLOCKED, None)
    if not (inspect.iscoroutinefunction(block) and inspect.iscoroutinefunction(unblock)):
        return False

    async def blocked(frame: Any) -> None:
        await block(frame)
        tell(str(frame.reason))

    async def unblocked(frame: Any) -> None:
        await unblock(frame)
        tell(None)

    try:
        setattr(connection, BLOCKED, blocked)
        setattr(connection, UNBLOCKED, unblocked)
    except AttributeError:  # it has slots now
        return False
    connection.closing.add_done_callback(lambda _: tell(None))
    return True
