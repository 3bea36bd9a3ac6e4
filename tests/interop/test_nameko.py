"""Events between the real nameko 2.14.1 and us, in both directions, on shared queues, in every delivery mode."""

from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from evbus_like.handlers import BROADCAST, SINGLETON
from evbus_like.testing import eventually
from evbus_like.testing import running as bus
from tests.integration.receiving import RecordingHandler, handle, receiving
from tests.interop import services

COUNT = 40


def consumers(rabbitmq, source):
    """Count the consumers of each queue of a source."""
    found = rabbitmq.queues("consumers")
    return {name: counts["consumers"] for name, counts in found.items() if name.startswith(f"evt-{source}-")}


@pytest.fixture
def side(rabbitmq, nameko_python, tmp_path, fresh_name):
    """Run services of nameko; gives their logs."""

    @asynccontextmanager
    async def run(what, *instances):
        async with AsyncExitStack() as stack:
            made = []
            for instance in instances:
                before = sum(consumers(rabbitmq, fresh_name).values())
                # Dispatches reads one queue, Handles five
                wanted = before + (1 if what == "Dispatches" else len(services.HANDLED))
                place = (nameko_python, rabbitmq.url, tmp_path, fresh_name, what)
                ready = lambda wanted=wanted: sum(consumers(rabbitmq, fresh_name).values()) >= wanted  # noqa: E731
                made.append(await stack.enter_async_context(services.running(*place, ready, instance)))
            yield made

    return run


@asynccontextmanager
async def dispatching(rabbitmq):
    """Give the `dispatch` of our bus."""
    async with bus({"amqp": {"default": {"connection": {"url": rabbitmq.url}}}}) as hub:

        async def dispatch(service, event_type, body, **options):
            await hub.evbus.broker.dispatch(service, event_type, body, confirm="delivered", **options)

        yield dispatch


def handlers_of_all_modes(source, handlers, instance="1"):
    """Handlers that read the same queues as those of nameko_services.Handles."""
    modes = {
        "ship": {},
        "any": {"delivery": SINGLETON},
        "each": {"delivery": BROADCAST, "reliable": False},
        "all": {"delivery": BROADCAST, "broadcast_identifier": f"host-{instance}"},
        "loose": {"reliable": False},
    }
    return [handle(handlers[name], source, "placed", name=name, **options) for name, options in modes.items()]


def numbers(bodies):
    return sorted(body["n"] for body in bodies)


async def test_events_from_nameko_reach_our_handlers_in_every_delivery_mode(rabbitmq, side, fresh_name):
    # Given two of our instances
    one, two = ({name: RecordingHandler() for name in services.HANDLED} for _ in range(2))
    profile = {"connection": {"url": rabbitmq.url}}
    async with (
        receiving(profile, *handlers_of_all_modes(fresh_name, one, "1")),
        receiving(profile, *handlers_of_all_modes(fresh_name, two, "2")),
        side("Dispatches", "1"),
        dispatching(rabbitmq) as dispatch,
    ):
        # When a service of nameko, triggered by our event, dispatches events
        await dispatch(f"{fresh_name}-go", "go", [0, COUNT], headers={"nameko.call_id_stack": ["ours.1"]})
        for name in ("each", "all"):
            await one[name].wait_for(COUNT)
            await two[name].wait_for(COUNT)
        for name in ("ship", "any", "loose"):
            await eventually(lambda name=name: len(one[name].events) + len(two[name].events) >= COUNT)
    # Then each handler gets the events of its delivery mode
    expected = list(range(COUNT))
    for name in ("each", "all"):
        assert numbers(one[name].bodies) == numbers(two[name].bodies) == expected
    for name in ("ship", "any", "loose"):
        assert numbers(one[name].bodies + two[name].bodies) == expected
    event = one["each"].events[0]
    assert (event.content_type, event.service, event.routing_key) == ("application/json", fresh_name, "placed")
    assert event.body["text"] == "ä"
    # And the call stack of nameko contains our call and the method that dispatched
    stack = event.headers["nameko.call_id_stack"]
    assert stack[0] == "ours.1"
    assert stack[-1].startswith(f"{fresh_name}.go.")


async def test_our_events_reach_nameko_handlers_in_every_delivery_mode(rabbitmq, side, fresh_name):
    async with side("Handles", "1", "2") as (one, two), dispatching(rabbitmq) as dispatch:
        for number in range(COUNT):
            await dispatch(fresh_name, "placed", {"n": number})
        for name in ("each", "all"):
            for service in (one, two):
                await eventually(lambda s=service, name=name: len(s.bodies(name)) >= COUNT)
        for name in ("ship", "any", "loose"):
            await eventually(lambda name=name: len(one.bodies(name)) + len(two.bodies(name)) >= COUNT)
    expected = list(range(COUNT))
    for name in ("each", "all"):
        assert numbers(one.bodies(name)) == numbers(two.bodies(name)) == expected
    for name in ("ship", "any", "loose"):
        assert numbers(one.bodies(name) + two.bodies(name)) == expected


@pytest.mark.parametrize("first", ["nameko", "ours"])
async def test_a_nameko_instance_and_one_of_ours_share_the_same_queues(rabbitmq, side, fresh_name, first):
    # Given both on the same queues, declared by either of them
    handlers = {name: RecordingHandler() for name in services.HANDLED}
    profile = {"connection": {"url": rabbitmq.url}}
    async with AsyncExitStack() as stack:
        if first == "ours":
            await stack.enter_async_context(receiving(profile, *handlers_of_all_modes(fresh_name, handlers, "2")))
        (theirs,) = await stack.enter_async_context(side("Handles", "1"))
        if first == "nameko":
            await stack.enter_async_context(receiving(profile, *handlers_of_all_modes(fresh_name, handlers, "2")))
        shared = consumers(rabbitmq, fresh_name)
        begin = f"evt-{fresh_name}-placed"
        assert [shared[begin], shared[f"{begin}--shipping.ship"], shared[f"{begin}--shipping.loose"]] == [2, 2, 2]
        dispatch = await stack.enter_async_context(dispatching(rabbitmq))
        for number in range(COUNT):
            await dispatch(fresh_name, "placed", {"n": number})

        def both(name):
            return theirs.bodies(name) + handlers[name].bodies

        # Then they share the events of pools, and each gets all broadcasts
        for name in services.HANDLED:
            wanted = 2 * COUNT if name in ("each", "all") else COUNT
            await eventually(lambda name=name, wanted=wanted: len(both(name)) >= wanted)
    for name in services.HANDLED:
        twice = 2 if name in ("each", "all") else 1
        assert numbers(both(name)) == sorted(list(range(COUNT)) * twice), name
    assert handlers["ship"].bodies
    assert theirs.bodies("ship")
