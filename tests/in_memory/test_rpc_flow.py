"""Many calls at once, callers that go away, and the end of services: nothing hangs and nothing is left."""

import asyncio
import gc

import pytest

from evbus_like.engine.errors import LifecycleError, Refused, RpcError, RpcTimeout, UnknownOutcome, UnserializableValue
from evbus_like.engine.message import Message, SendBuffer
from evbus_like.engine.rpc import client as engine_client
from evbus_like.testing import eventually, running
from tests.rpc import client, serving
from tests.unit.fakes import HANG

WORLD = """
    MAX_WORKERS = 4

    async def hello(hub, n):
        return n

    async def slow(hub, seconds=60):
        hub.SEEN.append("begun")
        await asyncio.sleep(seconds)
        hub.SEEN.append("ended")
        return "slow"

    async def busy(hub):
        hub.SEEN.append(1)
        most = len(hub.SEEN)
        await asyncio.sleep(0.01)
        hub.SEEN.pop()
        return most

    @evbus.method(timeout=0.05)
    async def limited(hub):
        await asyncio.sleep(60)

    @evbus.method(timeout=0.05)
    def limited_thread(hub):
        time.sleep(0.3)
"""


def tasks():
    """The names of all tasks but this test's."""
    return {task.get_name() for task in asyncio.all_tasks()} - {asyncio.current_task().get_name()}


async def test_a_thousand_calls_at_once_are_all_answered_each_with_its_own(app):
    async with serving(app(WORLD)) as hub:
        async with asyncio.timeout(HANG):
            answers = await asyncio.gather(*(hub.rpc.world.hello(n) for n in range(1000)))
        assert answers == list(range(1000))
        made = client(hub)
        assert (made.stats.calls, made.stats.answers, made.stats.late) == (1000, 1000, 0)
        assert not made._pending
        assert not made._buffer.open


async def test_no_more_methods_run_at_once_than_there_are_workers(app):
    async with serving(app(WORLD)) as hub:
        assert max(await asyncio.gather(*(hub.rpc.world.busy() for _ in range(40)))) == 4


async def test_callers_that_are_cancelled_leave_nothing_behind(app):
    async with serving(app(WORLD)) as hub:
        await hub.rpc.world.hello(1)
        before = tasks()
        calls = [hub.rpc.world.slow.submit(0.2) for _ in range(4)]
        await eventually(lambda: len(hub.SEEN) == 4, HANG)
        for call in calls:
            call.cancel()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended)
        made = client(hub)
        assert not made._pending
        await eventually(lambda: made.stats.late == 4, HANG)
        assert {name for name in tasks() - before if "handle" not in name} == set()


async def test_a_method_beyond_its_timeout_is_ended_and_its_caller_told(app):
    async with serving(app(WORLD)) as hub:
        for method in (hub.rpc.world.limited, hub.rpc.world.limited_thread):
            with pytest.raises(RpcError, match=r"raised TimeoutError: .*0.05 s"):
                await method()
        assert await hub.rpc.world.hello(1) == 1


async def test_a_stop_lets_methods_under_way_end_and_answer(app):
    async with serving(app(WORLD), timeout=30.0) as hub:
        call = hub.rpc.world.slow.submit(0.2)
        await eventually(lambda: hub.SEEN == ["begun"], HANG)
        await hub.evbus.rpc.stop(30.0)
        assert await call == "slow"
        assert hub.SEEN == ["begun", "ended"]


async def test_a_stop_while_the_services_are_stopped_already_waits_for_their_methods_too(app):
    async with serving(app(WORLD), timeout=30.0) as hub:
        call = hub.rpc.world.slow.submit(0.2)
        await eventually(lambda: hub.SEEN == ["begun"], HANG)
        first = asyncio.create_task(hub.evbus.rpc.stop(30.0))
        await asyncio.sleep(0)
        await hub.evbus.rpc.stop(30.0)
        assert hub.SEEN == ["begun", "ended"]
        await first
        assert await call == "slow"


async def test_requests_that_no_method_has_begun_wait_for_the_next_start(app):
    async with serving(app(WORLD)) as hub:
        calls = [hub.rpc.world.slow.submit(0.1) for _ in range(12)]
        await eventually(lambda: hub.SEEN.count("begun") >= 4, HANG)
        await hub.evbus.rpc.stop(30.0)
        assert hub.SEEN.count("begun") < 12
        await hub.evbus.rpc.start()
        async with asyncio.timeout(HANG):
            assert await asyncio.gather(*calls) == ["slow"] * 12
        assert hub.SEEN.count("ended") == 12


async def test_a_stop_of_the_bus_tells_callers_whose_answer_has_not_come(app):
    hub = app(WORLD)
    async with serving(hub, timeout=0.1):
        call = hub.rpc.world.slow.submit()
        await eventually(lambda: hub.SEEN == ["begun"], HANG)
    with pytest.raises(RpcTimeout, match="the bus was stopped before the answer came"):
        await call
    assert not [name for name in tasks() if "evbus_like" in name]


async def test_nothing_is_left_of_many_starts_and_stops(app):
    hub = app(WORLD)
    before = tasks()
    for _ in range(3):
        async with serving(hub):
            assert await hub.rpc.world.hello(1) == 1
    await asyncio.sleep(0)
    assert tasks() - before == set()
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, engine_client.Client) and each._pending]


async def test_a_call_while_the_bus_stops_is_refused_and_does_not_hang(app):
    hub = app(WORLD)
    async with serving(hub):
        pass
    for call in (hub.rpc.world.hello, hub.rpc.world.hello.cast, hub.rpc.world.hello.ask):
        with pytest.raises(LifecycleError):
            await call(1)


async def test_calls_beyond_the_bound_are_refused(app, monkeypatch):
    monkeypatch.setattr(engine_client, "MOST_PENDING", 2)
    async with serving(app(WORLD), timeout=0.1) as hub:
        calls = [hub.rpc.world.slow.submit() for _ in range(2)]
        await eventually(lambda: len(hub.SEEN) == 2, HANG)
        with pytest.raises(RpcError, match="2 calls wait for their answers"):
            await hub.rpc.world.hello(1)
    await asyncio.gather(*calls, return_exceptions=True)


async def test_a_request_that_was_certainly_not_taken_is_sent_again(app, monkeypatch):
    async with serving(app(WORLD)) as hub:
        await hub.rpc.world.hello(0)
        exchange = hub.ingress.internal.EXCHANGES["nameko-rpc"]
        plain, tries = exchange.put, []

        def put(event):
            if event.reply_to or not event.correlation_id:  # a request
                tries.append(event)
                if len(tries) < 3:
                    return exchange.bindings["rpc-world"].mailbox  # as if it were full
            return plain(event)

        monkeypatch.setattr(exchange, "put", put)
        async with asyncio.timeout(HANG):
            assert await hub.rpc.world.hello(1) == 1
            await hub.rpc.world.hello.cast(2)
        assert len(tries) == 4


async def test_a_request_that_came_before_is_not_run_again_where_its_method_says_so(app):
    service = """
    @evbus.method(repeat=False)
    async def once(hub):
        hub.SEEN.append("once")

    async def often(hub):
        hub.SEEN.append("often")
    """
    async with serving(app(service)) as hub:
        (consumer,) = hub.evbus.RUNTIME.services.consumers
        plain = consumer.invoker.call

        async def call(event):
            event.redelivered = True
            return await plain(event)

        consumer.invoker.call = call
        await hub.rpc.world.often()
        with pytest.raises(Refused, match=r"world.once may have run before, and must not run twice"):
            await hub.rpc.world.once()
        assert hub.SEEN == ["often"]


async def test_calls_from_another_event_loop_find_the_bus(app):
    async with serving(app(WORLD)) as hub:
        assert await asyncio.to_thread(asyncio.run, _three(hub)) == [1, 2, 3]


async def _three(hub):
    return await asyncio.gather(*(hub.rpc.world.hello(n) for n in (1, 2, 3)))


class TestPost:
    """A post settles every letter, whatever its source does."""

    def letter(self):
        return Message("e", "k", b"", "id")

    async def test_letters_of_one_turn_are_sent_together_and_in_order(self):
        batches = []

        async def send(letters):
            batches.append(list(letters))
            for each in letters:
                each.settle(None)

        post, outcomes = SendBuffer(send, "test"), []
        letters = [self.letter() for _ in range(3)]
        for each in letters:
            post.put(each, outcomes.append)
        await eventually(lambda: outcomes == [None] * 3, HANG)
        assert batches == [letters]
        assert post.open == 0
        post.close()

    async def test_a_letter_that_the_source_says_nothing_of_is_given_up(self):
        async def send(letters):
            pass

        post, outcomes = SendBuffer(send, "test", within=0.05), []
        post.put(self.letter(), outcomes.append)
        await asyncio.sleep(0.02)
        post.put(self.letter(), outcomes.append)
        await eventually(lambda: len(outcomes) == 2, HANG)
        assert all(isinstance(each, UnknownOutcome) for each in outcomes)
        assert post.open == 0
        post.close()

    async def test_a_source_that_hangs_is_given_up(self):
        async def send(letters):
            await asyncio.sleep(3600)

        post, outcomes = SendBuffer(send, "test", within=0.05), []
        post.put(self.letter(), outcomes.append)
        await eventually(lambda: len(outcomes) == 1, HANG)
        assert isinstance(outcomes[0], UnknownOutcome)
        post.close()

    async def test_what_send_raises_is_the_outcome_of_those_that_it_has_not_settled(self):
        async def send(letters):
            letters[0].settle(None)
            raise UnserializableValue("not this one")

        post, outcomes = SendBuffer(send, "test"), []
        for _ in range(2):
            post.put(self.letter(), outcomes.append)
        await eventually(lambda: len(outcomes) == 2, HANG)
        assert outcomes[0] is None
        assert isinstance(outcomes[1], UnserializableValue)
        post.close()

    async def test_a_post_that_closes_settles_what_is_under_way(self):
        async def send(letters):
            await asyncio.sleep(3600)

        post, outcomes = SendBuffer(send, "test"), []
        post.put(self.letter(), outcomes.append)
        await asyncio.sleep(0)
        post.put(self.letter(), outcomes.append)
        post.close()
        assert len(outcomes) == 2
        assert all(isinstance(each, UnknownOutcome) for each in outcomes)


async def test_services_serve_beside_handlers_and_their_puts_are_safe_before_the_answer(app):
    service = """
    async def place(hub, n):
        await hub.evbus.broker.dispatch("world", "placed", {"n": n})
        return n
    """
    handler = "@evbus.handler('world', 'placed')\nasync def on_placed(hub, event):\n    hub.SEEN.append(event.body)\n"
    hub = app(service, handler__shipping=handler)
    async with running(hub=hub):
        await hub.evbus.rpc.start()
        await hub.evbus.handlers.start()
        await hub.evbus.rpc.join(HANG)
        await hub.evbus.handlers.join(HANG)
        assert await hub.rpc.world.place(3) == 3
        await eventually(lambda: hub.SEEN == [{"n": 3}], HANG)


async def test_a_request_is_counted_once_when_its_answer_is_safe(app):
    async with serving(app(WORLD)) as hub:
        for n in range(3):
            await hub.rpc.world.hello(n)
        await hub.rpc.world.hello.cast(3)

        def facts():
            (only,) = hub.evbus.rpc.status()["serving"].values()
            return only

        await eventually(lambda: facts()["handled"] == 4, HANG)
        assert (facts()["failed"], facts()["requeued"], facts()["lost"]) == (0, 0, 0)


async def test_a_request_whose_answer_was_not_taken_is_run_and_answered_again(app, monkeypatch):
    async with serving(app(WORLD)) as hub:
        await hub.rpc.world.hello(0)
        plain, tries = hub.ingress.internal.EXCHANGES["nameko-rpc"].put, []

        def put(event):
            if event.correlation_id and not event.reply_to:  # an answer
                tries.append(event)
                if len(tries) == 1:
                    return hub.ingress.internal.EXCHANGES["nameko-rpc"].bindings["rpc-world"].mailbox  # as if full
            return plain(event)

        monkeypatch.setattr(hub.ingress.internal.EXCHANGES["nameko-rpc"], "put", put)
        assert await hub.rpc.world.hello(1) == 1
        assert len(tries) == 2

        def facts():
            (only,) = hub.evbus.rpc.status()["serving"].values()
            return only

        await eventually(lambda: facts()["handled"] == 2, HANG)
        assert (facts()["failed"], facts()["requeued"]) == (1, 1)
