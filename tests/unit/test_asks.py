"""What a destination has learnt that it does not take is refused at put: the destination is asked before."""

import pytest

from evbus_like.engine.errors import BadEvent
from evbus_like.engine.sending.destination import Asks
from tests.unit.fakes import Destination, entry, running, until


def no_odd_numbers(event):
    return "odd numbers are not taken" if event.body in (b"1", b"3") else None


class Learning(Destination):
    """A destination that learns in its connection what it does not take."""

    def __init__(self, refuse=no_odd_numbers, above=-1, **scripts):
        super().__init__(**scripts)
        self.refuse, self.above = refuse, above

    async def open(self):
        await super().open()
        self.asks = Asks(self.refuse, self.above)
        self.on_asks()


PUTS = {
    "put": lambda putter, body: putter.put("k", body),
    "put until delivered": lambda putter, body: putter.put("k", body, confirm="delivered"),
    "dispatch": lambda putter, body: putter.dispatch("shop", "sold", body),
}


@pytest.mark.parametrize("put", PUTS.values(), ids=PUTS)
async def test_what_a_destination_has_learnt_is_refused_at_put_with_its_words(put):
    destination = Learning()
    async with running(entry(destination)) as bus:
        await bus.putter.put("k", 1)  # nothing is known yet
        await until(lambda: destination.is_open)
        with pytest.raises(BadEvent, match="fake:default does not take the event: odd numbers are not taken"):
            await put(bus.putter, 3)
        await put(bus.putter, 2)
        account = await bus.stop()
    assert (account.put, account.rejected, account.delivered) == (3, 1, 2)


async def test_an_event_that_was_put_without_waiting_is_reported_as_it_was_put():
    destination = Learning()
    async with running(entry(destination)) as bus:
        await until(lambda: destination.is_open)
        for number in (1, 2, 3):
            bus.putter.put_nowait("k", number)
        account = await bus.stop()
    assert (account.rejected, account.delivered) == (2, 1)
    assert [failure.event.body for failure in bus.failures] == [1, 3]
    assert all(isinstance(failure.exception, BadEvent) for failure in bus.failures)


async def test_small_events_without_headers_and_with_a_short_key_are_accepted_without_asking():
    asked = []
    destination = Learning(lambda event: asked.append(len(event.body)), above=10)
    async with running(entry(destination)) as bus:
        await until(lambda: destination.is_open)
        await bus.putter.put("k", "x" * 5)
        await bus.putter.put("k", "x" * 5, key="short")
        assert asked == []
        await bus.putter.put("k", "x" * 20)
        await bus.putter.put("k", "x" * 5, key="k" * 1000)
        await bus.putter.put("k", "x" * 5, headers={"a": 1})
        assert asked == [22, 7, 7]


async def test_only_the_destinations_of_a_profile_are_asked():
    strict = Learning(lambda event: "never")
    entries = [
        entry(strict, "fake:strict", matches=lambda name: name == "strict"),
        entry(Destination(), "fake:mild", matches=lambda name: name == "mild"),
    ]
    async with running(*entries) as bus:
        await until(lambda: strict.is_open)
        await bus.putter.put("k", 1, profile="mild")
        with pytest.raises(BadEvent, match="fake:strict"):
            await bus.putter.put("k", 1, profile="strict")


async def test_the_body_is_serialized_when_a_destination_is_asked_and_raw_if_another_form_is_needed():
    asked = []
    first = Learning(lambda event: asked.append((event.body, event.content_type)))
    async with running(entry(first)) as bus:
        await until(lambda: first.is_open)
        await bus.putter.put("k", {"a": 1})
        assert (await bus.stop()).delivered == 1
    assert asked == [(b'{"a":1}', "application/json")]
    assert first.received == [b'{"a":1}']
