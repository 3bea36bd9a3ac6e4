"""What the conformance suites say to the author of a plugin whose target is incomplete."""

import asyncio

import pytest

from evbus_like.testing.conformance import (
    Features,
    IngressConformance,
    Record,
    SourceConformance,
    SourceFeatures,
    SourceTarget,
    Target,
    failing,
    faults,
    source_suite,
    suite,
    workers,
)


class Incomplete(Target):
    """Gives what the constructor says, and no more."""

    def __init__(self, **given):
        vars(self).update({"provider": "internal", "keys": ("one", "two", "three"), "profile": dict, **given})


class Suite(IngressConformance):
    __test__ = False
    features = Features(refuses_missing_target=False)


@pytest.fixture(autouse=True)
def short_deadlines(monkeypatch):
    for module in (failing, suite, source_suite):
        monkeypatch.setattr(module, "DEADLINE", 0.2)


async def failure_of(test):
    with pytest.raises(pytest.fail.Exception) as caught:
        await test
    assert not caught.value.pytrace
    return str(caught.value)


@pytest.mark.parametrize(
    ("test", "given", "message"),
    [
        (
            "test_an_empty_body_arrives_empty",
            {"provider": ""},
            "your Incomplete does not set provider; the suite needs",
        ),
        ("test_an_empty_body_arrives_empty", {"keys": ("one",)}, "needs 3 different routing keys, not ['one']"),
        (
            "test_an_empty_body_arrives_empty",
            {},
            "your Incomplete has no read(); the suite needs it to see what arrived",
        ),
        (
            "test_a_profile_can_set_the_routing_key_of_all_its_events",
            {},
            "has no fixed_profile(); the suite needs it to send every event to keys[0], or declare fixed_key=False",
        ),
        (
            "test_ping_fails_when_the_destination_is_down",
            {},
            "has no kill(); the suite needs it to take the destination down, or declare connects=False",
        ),
    ],
)
async def test_an_incomplete_target_fails_with_what_is_missing(test, given, message):
    said = await failure_of(getattr(Suite(), test)(Incomplete(**given)))
    assert message in said
    assert said.endswith("; see docs/plugins.md")


async def test_a_target_without_a_profile_fails_with_what_is_missing():
    target = Incomplete()
    del target.profile  # the method of the class is left
    said = await failure_of(Suite().test_an_empty_body_arrives_empty(target))
    assert said.startswith("your Incomplete has no profile(); the suite needs it to configure the bus")


async def test_a_target_whose_kill_does_nothing_fails_with_the_state_that_was_waited_for():
    async def kill():
        pass

    test = Suite().test_a_bus_starts_while_its_destination_is_down_and_delivers_when_it_is_up
    said = await failure_of(test(Incomplete(kill=kill)))
    assert said.startswith("waited 0.2 s for the state 'retrying'; the state is")
    assert "The bus: put 50, accepted 50" in said


async def test_a_missing_unroutable_key_is_named_with_its_feature():
    class Strict(Suite):
        features = Features()

    said = await failure_of(Strict().test_an_empty_body_arrives_empty(Incomplete()))
    assert "does not set missing_key" in said
    assert "or declare refuses_missing_target=False" in said


async def test_something_else_than_a_target_is_named():
    said = await failure_of(Suite().test_an_empty_body_arrives_empty({}))
    assert said.startswith("the fixture target returned a dict; it must return a Target")


async def test_a_provider_that_no_plugin_takes_is_named_with_what_makes_a_plugin_be_found():
    said = await failure_of(Suite().test_an_empty_body_arrives_empty(Incomplete(provider="pigeon")))
    assert "no ingress plugin takes the provider 'pigeon'" in said
    assert 'DYNE = {"ingress": ["ingress"]}' in said


async def test_events_that_do_not_arrive_are_named_with_those_that_did():
    async def read(count):
        return [Record("one", b"1")] if not seen.append(count) and len(seen) == 1 else []

    seen = []
    said = await failure_of(Suite().arrived(Incomplete(read=read), [b"0", b"1", ("one", b"2")]))
    assert said.startswith("waited for 3 events, read() returned: 1 of 3 arrived; missing: b'0', b'2'")
    assert seen[:2] == [3, 2]


async def test_a_body_that_arrives_changed_is_named_beside_the_missing_one():
    async def read(count):
        return [Record("one", b"changed")] * count

    said = await failure_of(Suite().arrived(Incomplete(read=read), [b"0"]))
    assert "0 of 1 arrived; missing: b'0'; unexpected: b'changed'" in said


async def test_a_read_that_never_returns_fails_with_what_arrived_before():
    async def read(count):
        await failing.eventually(lambda: False, 60.0)

    said = await failure_of(Suite().arrived(Incomplete(read=read), [b"0"]))
    assert "0 of 1 arrived; missing: b'0'" in said


async def test_a_read_that_returns_at_once_is_called_again_until_all_have_arrived():
    async def read(count):
        return [Record("one", b"%d" % left.pop())] if left else []

    left = [1, 0]
    records = await Suite().arrived(Incomplete(read=read), [b"0", b"1"])
    assert [record.body for record in records] == [b"0", b"1"]


async def test_a_state_that_the_bus_does_not_reach_is_named_with_its_account():
    async with Suite().bus(Incomplete()) as hub:
        hub.evbus.broker.put_nowait("one", b"x")
        said = await failure_of(faults.wait_for_state(hub, "refused"))
    assert said.startswith("waited 0.2 s for the state 'refused'; the state is")


async def test_a_kill_without_effect_is_named_by_the_ping_test():
    async def nothing():
        pass

    test = Suite().test_ping_fails_when_the_destination_is_down
    said = await failure_of(test(Incomplete(kill=nothing, start=nothing)))
    assert said.startswith("after kill() the plugin still reaches the destination")


async def test_a_missing_key_that_was_delivered_is_named_with_what_to_do():
    class Strict(Suite):
        features = Features()

    test = Strict().test_an_unroutable_event_is_refused_or_dead_lettered_and_logged_and_others_are_delivered
    said = await failure_of(test(Incomplete(missing_key="four"), None))
    assert said.startswith("an event with your missing_key 'four' was delivered")
    assert "declare refuses_missing_target=False" in said


async def test_headers_without_their_types_are_named_with_the_feature():
    async def read(count):
        headers = {
            "text": "žába",
            "number": "7",
            "fraction": "0.5",
            "bytes": b"\x00\xff",
            "empty": "",
            "x" * 128: "long",
        }
        return [Record("one", b"x", headers=headers)]

    said = await failure_of(Suite().test_headers_arrive(Incomplete(read=read)))
    assert "declare typed_headers=False" in said


@pytest.mark.parametrize(
    "test",
    [
        "test_a_body_of_the_maximum_size_arrives",
        "test_put_rejects_a_body_over_the_maximum_size_and_the_next_event_is_delivered",
    ],
)
async def test_two_different_maximum_sizes_are_both_named(test):
    class Small(Suite):
        features = Features(refuses_missing_target=False, max_event_bytes=7)

    said = await failure_of(getattr(Small(), test)(Incomplete(profile=lambda: {"max_event_bytes": 8})))
    assert said.startswith("max_event_bytes is 8 for the profile and 7 in Features; set both to the same number")


async def test_the_suite_does_not_wait_for_events_that_were_dead_lettered(monkeypatch):
    async def read(count):
        return []

    async def publish(events):
        raise ValueError("no number")

    monkeypatch.setattr(suite, "DEADLINE", 60.0)
    target = Incomplete(read=read)
    async with Suite().bus(target) as hub:
        (lane,) = hub.evbus.RUNTIME.bus.lanes
        monkeypatch.setattr(lane.destination, "publish_now", lambda events: 0)
        monkeypatch.setattr(lane.destination, "publish", publish)
        hub.evbus.broker.put_nowait("one", b"x")
        await failing.eventually(lambda: hub.evbus.init.account().dead_lettered, 30.0)
        async with asyncio.timeout(30.0):
            said = await failure_of(Suite().arrived(target, [b"x"]))
    assert "The last dead letter: ValueError: no number" in said
    assert "raise TransientError to have the event retried" in said


def test_a_suite_without_a_target_fixture_says_so():
    said = str(failing.missing_fixture(Sources(), SourceTarget))
    assert said == "your Sources needs a fixture named target that returns a SourceTarget; see docs/plugins.md"


class IncompleteSource(SourceTarget):
    """Gives what the constructor says, and no more."""

    def __init__(self, **given):
        vars(self).update({"provider": "internal", "profile": dict, **given})


class Sources(SourceConformance):
    __test__ = False
    features = SourceFeatures(processes=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"provider": ""}, "your IncompleteSource does not set provider; the suite needs the provider"),
        ({"provider": "pigeon"}, "no egress plugin takes the provider 'pigeon'. Is the plugin's package installed"),
        ({}, "your IncompleteSource has no publish(); the suite needs it to publish events that the plugin receives"),
    ],
)
async def test_an_incomplete_source_target_fails_with_what_is_missing(given, message, tmp_path):
    test = Sources().test_a_singleton_event_is_handled_once_across_all_services
    assert (await failure_of(test(IncompleteSource(**given), tmp_path))).startswith(message)


async def test_a_source_target_without_dead_letters_fails_with_what_is_missing(tmp_path):
    async with Sources().bench(IncompleteSource(), tmp_path) as bench:
        said = await failure_of(bench.dead(bench.handler(), 1))
    assert "has no dead_letters(); the suite needs it to see which events were dead-lettered" in said


async def test_dead_letters_that_do_not_arrive_are_counted_with_those_that_did(tmp_path):
    async def dead_letters(subscription):
        return [Record("placed", b"bad")] if not seen.append(subscription) and len(seen) == 1 else []

    seen = []
    async with Sources().bench(IncompleteSource(dead_letters=dead_letters), tmp_path) as bench:
        said = await failure_of(bench.dead(bench.handler(), 2))
    assert said.startswith("waited 0.2 s for 2 dead letters in evt-orders-")
    assert "dead_letters() returned 1: b'bad'" in said


async def test_events_that_no_worker_handles_are_named(tmp_path):
    async with Sources().bench(IncompleteSource(), tmp_path) as bench:
        worker = await bench.worker(bench.handler())
        said = await failure_of(bench.handled(["x"], worker))
    assert said == "waited 0.2 s for 1 handled events: 0 of 1 arrived; missing: 'x'"


async def test_a_note_that_a_worker_does_not_write_is_named_with_the_events_that_it_began(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "DEADLINE", 0.2)
    async with Sources().bench(IncompleteSource(), tmp_path) as bench:
        worker = await bench.worker(bench.handler(), ready=False)
        said = await failure_of(worker.noted("done", 2))
    assert said == "waited 0.2 s for 2 notes 'done' of worker0; it wrote 0; events begun: []"
