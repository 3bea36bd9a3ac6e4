"""engine/sending/suspects.py: an event that makes its destination end the connection is found, and given up alone."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

import pytest

from evbus_like.engine.errors import BatchRejected, ConnectionLost
from evbus_like.engine.event import Event
from evbus_like.engine.sending import suspects
from tests.unit.fakes import Destination, entry, running, until
from tests.unit.outboxes import opened


def words() -> Exception:
    return BatchRejected("501 FRAME_ERROR: too large")


def internal_error() -> Exception:
    return BatchRejected("541 INTERNAL_ERROR: badarg", certain=False)


def silence() -> Exception:
    return ConnectionLost("connection reset by peer")


def an_oserror() -> Exception:
    return ConnectionResetError("reset by peer")


ENDS = [words, internal_error, silence, an_oserror]


class Touchy(Destination):
    """A destination that takes events in order, and ends the connection when it meets one of `bad`.

    `arrived` are the events that it has taken, repeats and all. It confirms all but the last `unconfirmed` before an
    end. `restarts` are the numbers of the publishes during which it restarts, behind `taken` events.
    """

    def __init__(
        self,
        bad: Collection[int],
        end: Callable[[], Exception] = words,
        unconfirmed: int = 1000,
        restarts: Collection[int] = (),
        taken: int = 2,
    ) -> None:
        super().__init__()
        self.bad, self.end, self.unconfirmed = bad, end, unconfirmed
        self.restarts, self.taken = restarts, taken
        self.arrived: list[int] = []
        self.ends = 0
        self.down = False

    async def publish(self, events: Sequence[Event]) -> list[Exception | None] | None:
        self.calls["publish"] += 1
        restart = self.calls["publish"] in self.restarts
        for at, event in enumerate(events):
            number = json.loads(event.body)
            if self.down or number in self.bad or (restart and at >= self.taken):
                return self._ended(events, at, silence() if restart or self.down else self.end())
            self.arrived.append(number)
        return None

    def _ended(self, events: Sequence[Event], at: int, error: Exception) -> list[Exception | None]:
        self.ends += 1
        confirmed = max(0, at - self.unconfirmed)
        if not confirmed:
            raise error
        return [None if position < confirmed else error for position in range(len(events))]


async def send(destination: Touchy, count: int, **options: Any):
    async with running(entry(destination, **options)) as bus:
        for number in range(count):
            bus.putter.put_nowait(body=number)
        await until(lambda: bus.bus.intake.empty() and not any(lane.queue for lane in bus.lanes))
        account = await bus.stop()
    return account, {json.loads(failure.event.body): failure for failure in bus.failures if failure.final}


@pytest.mark.parametrize("attempts", [None, 3, 1])
@pytest.mark.parametrize("end", ENDS)
async def test_one_event_that_ends_the_connection_is_given_up_alone(end, attempts):
    destination = Touchy({5}, end)

    account, dead = await send(destination, 11, attempts=attempts)

    copies = Counter(destination.arrived)
    assert list(dead) == [5]
    assert str(end().args[0]) in str(dead[5].exception)
    assert set(copies) == set(range(11)) - {5}
    assert max(copies[number] for number in range(5)) <= 2, "in flight once when the connection ended"
    assert all(copies[number] == 1 for number in range(6, 11)), "never reached before"
    assert account.dead_lettered == 1


@pytest.mark.parametrize("end", ENDS)
async def test_events_that_were_confirmed_before_the_end_are_not_sent_again(end):
    destination = Touchy({5}, end, unconfirmed=0)

    _, dead = await send(destination, 11)

    assert list(dead) == [5]
    assert destination.arrived == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]


async def test_an_event_that_is_refused_in_words_needs_no_neighbour():
    _, dead = await send(Touchy({0}), 1)
    assert list(dead) == [0]


async def test_ten_events_in_a_row_that_end_the_connection_are_all_found():
    for end in ENDS:
        destination = Touchy(set(range(3, 13)), end)
        _, dead = await send(destination, 16)
        assert sorted(dead) == list(range(3, 13))
        assert set(destination.arrived) == {0, 1, 2, 13, 14, 15}


async def test_without_a_reason_an_event_is_kept_until_another_one_was_taken():
    destination = Touchy({0}, silence)
    async with running(entry(destination)) as bus:
        await bus.putter.put(body=0)
        await until(lambda: destination.ends > 3 * suspects.LOST)
        assert not bus.failures

        await bus.putter.put(body=1)
        await until(lambda: bus.failures)

    assert [failure.event.body for failure in bus.failures] == [b"0"]
    assert "took another event in between" in str(bus.failures[0].exception)


@pytest.mark.parametrize("end", [internal_error, silence])
async def test_a_destination_that_refuses_everything_for_a_while_costs_at_most_one_event(end):
    destination = Touchy(range(10), end)
    async with running(entry(destination)) as bus:
        for number in range(10):
            bus.putter.put_nowait(body=number)
        await until(lambda: destination.ends > 200)
        destination.bad = ()
        await until(lambda: not bus.lanes[0].queue and bus.bus.intake.empty())

    assert len(bus.failures) <= (end is internal_error)
    assert len(set(destination.arrived)) == 10 - len(bus.failures)


async def test_a_reason_that_may_be_about_the_destination_gives_nobody_up_while_an_event_is_taken_now_and_then():
    destination = Touchy((), words, restarts={2, 4, 6, 8}, taken=0)
    _, dead = await send(destination, 10, batch_events=2)
    assert dead == {}


@pytest.mark.parametrize("attempts", [None, 3])
async def test_a_restart_uses_up_no_attempt_of_events_that_are_in_flight(attempts):
    destination = Touchy((), restarts={1, 3}, taken=4)
    _, dead = await send(destination, 10, attempts=attempts)
    assert dead == {}
    assert set(destination.arrived) == set(range(10))


async def test_a_stored_event_is_read_to_be_the_neighbour_that_proves_it(tmp_path):
    destination = Touchy({0}, silence)
    lane = entry(destination, when_full="spill", max_events=1, batch_events=1)
    async with opened(tmp_path / "o.sqlite") as outbox, running(lane, outbox=outbox) as bus:
        for number in range(3):
            await bus.putter.put(body=number)
        await until(lambda: bus.failures and not (bus.lanes[0].queue or bus.lanes[0].behind))
    assert destination.arrived == [1, 2]


async def test_an_event_out_of_turn_that_cannot_be_delivered_keeps_its_place():
    destination = Touchy({0}, silence)
    destination.bad = {0, 1, 2}
    _, dead = await send(destination, 4)
    assert sorted(dead) == [0, 1, 2]
    assert destination.arrived == [3]


async def test_a_wait_for_a_neighbour_is_cut_short_by_a_stop():
    destination = Touchy({0, 1, 2}, silence)
    async with running(entry(destination)) as bus:
        for number in range(3):
            bus.putter.put_nowait(body=number)
        await until(lambda: destination.ends > 20)
        async with asyncio.timeout(5):
            account = await bus.stop(0.2)
    assert account.remaining == 3


async def test_events_ahead_of_a_silent_end_are_sent_three_times_at_most_whatever_is_confirmed():
    destination = Touchy({150}, silence)
    ends = iter(range(20, 150, 20))  # each end confirms the first twenty that are still in flight
    take = destination.publish

    async def publish(events):
        destination.unconfirmed = 1000
        if len(events) > 20:
            destination.unconfirmed = max(0, 130 - next(ends, 130))
        return await take(events)

    destination.publish = publish
    _, dead = await send(destination, 200)
    assert list(dead) == [150]
    assert max(Counter(destination.arrived).values()) <= 3
