"""Dead letters are sent again by a running bus, a few hundred in each transaction."""

from types import SimpleNamespace

import pytest

from evbus_like.engine.errors import OutboxClosed
from evbus_like.engine.sending.replay import AT_ONCE, replay


class Outbox:
    """Notes what it is asked to replay, and to which destination."""

    def __init__(self):
        self.asked = []

    async def replay(self, numbers, to):
        self.asked.append((list(numbers), to))
        return dict.fromkeys(numbers, "amqp:orders")


async def test_letters_are_replayed_in_their_order_some_hundred_in_each_transaction():
    outbox, replayed = Outbox(), []
    numbers = list(range(2 * AT_ONCE + 1))

    done = await replay(SimpleNamespace(outbox=outbox, replayed=replayed.append), numbers, "amqp:spare")

    assert done == len(numbers)
    assert [number for asked, _ in outbox.asked for number in asked] == numbers
    assert [len(asked) for asked, _ in outbox.asked] == [AT_ONCE, AT_ONCE, 1]
    assert {to for _, to in outbox.asked} == {"amqp:spare"}
    assert len(replayed) == 3


async def test_without_an_outbox_nothing_is_replayed_and_the_error_says_so():
    with pytest.raises(OutboxClosed, match="the outbox is not open"):
        await replay(SimpleNamespace(outbox=None), [1, 2])
