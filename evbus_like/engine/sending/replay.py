"""Dead letters of a running bus, replayed: they are stored again, and their lanes send them."""

from __future__ import annotations

from collections.abc import Sequence

from evbus_like.engine.bus import Bus
from evbus_like.engine.errors import OutboxClosed

AT_ONCE = 200  # letters in a transaction, which holds the bodies in memory


async def replay(bus: Bus, numbers: Sequence[int], to: str = "") -> int:
    """Send dead letters again, or to another destination, and return how many; those without a lane wait.

    It runs in the loop of the bus. Raises PutError.
    """
    done = 0
    for at in range(0, len(numbers), AT_ONCE):
        if bus.outbox is None:
            raise OutboxClosed("the outbox is not open")
        # The outbox answers in the order of its commits, so a lane gets its events in the order of their seqs.
        again = await bus.outbox.replay(numbers[at : at + AT_ONCE], to or None)
        bus.replayed(again)
        done += len(again)
    return done
