"""The option `where` of a handler: what is not wanted is acknowledged without a call, and counted."""

from functools import partial

import pytest

from evbus_like import handlers as evbus
from tests.unit.fakes import until
from tests.unit.sources import Log, Source, consuming


async def test_a_filter_sees_headers_and_body_and_what_it_does_not_want_is_not_called():
    source, log, seen = Source(), Log(), []

    def where(headers, body):
        seen.append((headers, body))
        return headers["shop"] == "north"

    async with consuming(source, log, where=where, dedup=10) as consumer:
        source.put(1, headers={"shop": "south"})
        source.put(2, headers={"shop": "north"})
        await until(lambda: len(source.settled) == 2)
    assert sorted(source.settled) == [("ack", "1"), ("ack", "2")]
    assert log.begun == ["2"]
    assert seen == [({"shop": "south"}, b"body"), ({"shop": "north"}, b"body")]
    assert (consumer.stats.handled, consumer.stats.filtered, consumer.stats.failed) == (1, 1, 0)


async def test_an_event_that_was_not_wanted_is_no_repeat_when_it_comes_again():
    source, log, wanted = Source(), Log(), []
    async with consuming(source, log, where=lambda headers, body: wanted, dedup=10) as consumer:
        source.put(1)
        await until(lambda: consumer.stats.filtered)
        wanted.append(True)
        source.put(1)
        await until(lambda: consumer.stats.handled)
    assert consumer.stats.repeats == 0


async def test_what_a_filter_raises_is_an_error_of_the_handler():
    source, log = Source(), Log()
    rules = [evbus.on(KeyError, evbus.REJECT)]
    async with consuming(source, log, where=lambda headers, body: headers["shop"], rules=rules):
        source.put(1)
        await until(lambda: source.settled)
    assert source.settled == [("dead", "1")]
    assert source.reasons["1"] == "rejected: KeyError: 'shop'"


async def never(headers, body): ...


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (True, "where must be a function of headers and body, not True"),
        (never, "where must be a plain function, without async and yield"),
        (lambda event: True, "where is called as where(headers, body), and <function"),
    ],
)
def test_a_filter_that_cannot_be_called_is_named_at_the_start(where, message):
    @evbus.handler("orders", "placed", where=where)
    def function(hub, event): ...

    assert message in getattr(function, evbus.MARK)[0].problem()


def test_anything_that_can_be_called_with_both_is_a_filter():
    for where in (partial(lambda shop, headers, body: True, "north"), lambda *given: True, max):

        @evbus.handler("orders", "placed", where=where)
        def function(hub, event): ...

        assert not getattr(function, evbus.MARK)[0].problem()
