"""Events that a destination refuses for themselves wait, and do not hold up those behind them."""

import json

from evbus_like.engine.errors import DestinationRefused, PoisonEvent, TransientError
from tests.unit.fakes import Destination, entry, running, until


class Choosy(Destination):
    """Refuses some events until somebody has mended it, and takes the others."""

    def __init__(self, refused, poison=()):
        super().__init__()
        self.refused, self.poison = set(refused), set(poison)
        self.arrived = []

    async def publish(self, events):
        self.calls["publish"] += 1
        outcomes = []
        for event in events:
            number = json.loads(event.body)
            if number in self.poison:
                outcomes.append(PoisonEvent("never"))
            elif number in self.refused:
                outcomes.append(DestinationRefused("the exchange is of another type"))
            else:
                self.arrived.append(number)
                outcomes.append(None)
        return outcomes


async def test_an_event_that_waits_for_somebody_to_act_does_not_hold_up_the_others():
    destination = Choosy({3, 4, 17})
    async with running(entry(destination, batch_events=10, refused_cap=0.05)) as bus:
        for number in range(10):
            bus.putter.put_nowait(body=number)
        await until(lambda: len(destination.arrived) == 8)
        for number in range(10, 30):
            await bus.putter.put(body=number)
        await until(lambda: len(destination.arrived) == 27)
        assert destination.arrived == [number for number in range(30) if number not in (3, 4, 17)]
        assert [failure.final for failure in bus.failures] == [False], "the refusal is reported once"
        # and when it is mended, they arrive too
        destination.refused.clear()
        await until(lambda: len(destination.arrived) == 30)
        account = await bus.stop()
    assert account.complete
    assert destination.arrived[-3:] == [3, 4, 17]


async def test_a_stop_sends_what_is_behind_refused_events():
    destination = Choosy({0})
    async with running(entry(destination, refused_cap=60.0)) as bus:
        await bus.putter.put(body=0)
        await until(lambda: bus.lanes[0].state == "refused")
        for number in range(1, 50):
            bus.putter.put_nowait(body=number)
        account = await bus.stop()
    assert destination.arrived == list(range(1, 50))
    assert account.remaining == 1


async def test_a_poison_event_behind_a_refused_one_is_given_up_in_its_turn():
    destination = Choosy({0}, poison={1})
    async with running(entry(destination, batch_events=1, refused_cap=0.01)) as bus:
        for number in range(3):
            bus.putter.put_nowait(body=number)
        await until(lambda: bus.lanes[0].state == "refused")
        destination.refused.clear()
        await until(lambda: not bus.lanes[0].queue)
    assert sorted(destination.arrived) == [0, 2]
    assert [json.loads(failure.event.body) for failure in bus.failures if failure.final] == [1]


async def test_an_error_of_the_connection_ends_the_passing_and_loses_nothing():
    destination = Choosy({0})
    take, lost = destination.publish, [TransientError("lost")]

    async def publish(events):
        if lost and json.loads(events[0].body) == 1:
            raise lost.pop()
        return await take(events)

    destination.publish = publish
    async with running(entry(destination, batch_events=1, refused_cap=0.01)) as bus:
        for number in range(5):
            bus.putter.put_nowait(body=number)
        await until(lambda: len(destination.arrived) == 4)
        account = await bus.stop(0.5)
    assert destination.arrived == [1, 2, 3, 4]
    assert account.remaining == 1
