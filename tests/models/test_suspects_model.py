"""engine/sending/suspects.py as a property: whatever events end the connection, and whenever it restarts."""

import json
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.fakes import entry, running, until
from tests.unit.test_suspects import ENDS, Touchy

numbers = st.integers(0, 29)


@settings(max_examples=60, deadline=None)
@given(
    bad=st.sets(numbers, max_size=12),
    end=st.sampled_from(ENDS),
    unconfirmed=st.integers(0, 5),
    restarts=st.sets(st.integers(1, 40), max_size=2),
    taken=st.integers(0, 5),
    batch=st.integers(1, 30),
    attempts=st.none() | st.integers(5, 9),
)
async def test_whatever_events_end_the_connection_the_others_arrive_in_order_and_only_those_are_given_up(
    bad, end, unconfirmed, restarts, taken, batch, attempts
):
    destination = Touchy(bad, end, unconfirmed, restarts, taken)
    async with running(entry(destination, batch_events=batch, attempts=attempts)) as bus:
        for number in range(31):  # the last one is good
            bus.putter.put_nowait(body=number)
        await until(lambda: bus.bus.intake.empty() and not bus.lanes[0].queue)
        account = await bus.stop()

    dead = {json.loads(failure.event.body) for failure in bus.failures if failure.final}
    first = list(dict.fromkeys(destination.arrived))
    assert dead == bad
    assert first == [number for number in range(31) if number not in bad]
    assert max(Counter(destination.arrived).values()) <= 1 + destination.ends
    assert account.balanced
