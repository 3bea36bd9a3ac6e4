"""Calls over RabbitMQ when RabbitMQ, the network, a server or a reply queue fails: an answer, or the deadline."""

import asyncio
import json
import signal
import time

import pytest

from evbus_like.engine.rpc import reply
from evbus_like.errors import Refused, RemoteError, RpcTimeout, UnserializableValue
from evbus_like.testing import eventually, running
from tests import rpc
from tests.faults.proxy import Proxy
from tests.integration.serving import server
from tests.integration.support import DEADLINE, alarm, channel, consumers, without_type
from tests.integration.test_amqp_source import send_raw
from tests.rpc import client, serving

WORLD = """
    SERVICE = {name!r}

    async def hello(hub, n):
        return n

    async def slow(hub, seconds):
        hub.SEEN.append("begun")
        await asyncio.sleep(seconds)
        hub.SEEN.append("ended")
        return "slow"

    async def waits(hub):
        hub.SEEN.append("begun")
        await hub.GO_ON.wait()
        return len(hub.SEEN)

    async def big(hub, size):
        return "x" * size

    async def noted(hub, file, key):
        with open(file, "a") as notes:
            notes.write(key + "\\n")
        while not pathlib.Path(file + ".go").exists():
            await asyncio.sleep(0.01)
        return pathlib.Path(file).read_text().split()

    @evbus.method(repeat=False)
    async def once(hub, file):
        return await noted(hub, file, "once")
"""


@pytest.fixture
def profiles(rabbitmq):
    return {"amqp": {"default": {"connection": {"url": rabbitmq.url}}}}


@pytest.fixture
def source(fresh_name):
    return "import pathlib\n" + WORLD.replace("\n    ", "\n").format(name=fresh_name)


@pytest.fixture
def world(app, source):
    hub = app(source)
    hub.GO_ON = asyncio.Event()
    return hub


@pytest.fixture
def proxy(rabbitmq):
    with Proxy(rabbitmq.port) as made:
        yield made


def through(proxy, **connection):
    """Give profiles that lead through the proxy."""
    address = {"host": "127.0.0.1", "port": proxy.port, "timeout": 2.0}
    return {"amqp": {"default": {"connection": {**address, **connection}, "timeout": 3.0}}}


def settled(hub):
    """Whether no call waits, and no letter is on its way."""
    made = client(hub)
    return not made._pending and not made._buffer.open


async def test_a_thousand_calls_at_once_are_all_answered(world, profiles, fresh_name):
    async with serving(world, profiles) as hub:
        async with asyncio.timeout(DEADLINE):
            answers = await asyncio.gather(*(hub.rpc[fresh_name].hello(n, timeout=DEADLINE) for n in range(1000)))
        assert answers == list(range(1000))
        assert settled(hub)


async def test_a_broker_killed_in_mid_call_is_waited_for_and_the_answer_comes(rabbitmq, world, profiles, fresh_name):
    # Given a call whose method has begun
    async with serving(world, profiles) as hub:
        assert await hub.rpc[fresh_name].hello(1) == 1
        call = hub.rpc[fresh_name].waits.submit(timeout=2 * DEADLINE)
        await eventually(lambda: hub.SEEN == ["begun"], DEADLINE)
        # When RabbitMQ is killed and comes back
        await asyncio.to_thread(rabbitmq.kill)
        hub.GO_ON.set()
        await asyncio.sleep(0.1)  # the method ends while nobody takes its answer
        await asyncio.to_thread(rabbitmq.start)
        # Then the request comes again, and its answer reaches the caller
        assert await call == 2
        assert await hub.rpc[fresh_name].hello(2, timeout=DEADLINE) == 2
        await eventually(lambda: settled(hub), DEADLINE)


async def test_calls_while_the_broker_is_away_wait_for_it_until_their_deadline(rabbitmq, world, profiles, fresh_name):
    async with serving(world, profiles) as hub:
        assert await hub.rpc[fresh_name].hello(1) == 1
        await asyncio.to_thread(rabbitmq.kill)
        try:
            await eventually(lambda: client(hub)._consumer.feed is None, DEADLINE)
            with pytest.raises(RpcTimeout, match="was not called"):
                await hub.rpc[fresh_name].hello(2, timeout=0.5)
            with pytest.raises(RpcTimeout):
                await hub.rpc[fresh_name].hello.cast(2, timeout=0.5)
            call = hub.rpc[fresh_name].hello.submit(3, timeout=2 * DEADLINE)
        finally:
            await asyncio.to_thread(rabbitmq.start)
        assert await call == 3
        await eventually(lambda: settled(hub), DEADLINE)


async def test_a_server_killed_in_mid_call_leaves_the_request_to_the_next_one(source, profiles, fresh_name, tmp_path):
    site, file = rpc.write(tmp_path / "site", source), str(tmp_path / "notes")
    async with running(profiles) as hub:
        async with server(site, profiles) as first:
            call = hub.rpc[fresh_name].noted.submit(file, "x", timeout=2 * DEADLINE)
            refused = hub.rpc[fresh_name].once.submit(file, timeout=2 * DEADLINE)
            await eventually(lambda: len(_lines(file)) == 2, DEADLINE)
            first.send_signal(signal.SIGKILL)
            await first.wait()
        async with server(site, profiles):
            await eventually(lambda: len(_lines(file)) == 3, DEADLINE)  # the one that may be repeated
            (tmp_path / "notes.go").touch()
            assert sorted(await call) == ["once", "x", "x"]
            with pytest.raises(Refused, match="may have run before, and must not run twice"):
                await refused


def _lines(file):
    try:
        with open(file) as notes:
            return notes.read().split()
    except FileNotFoundError:
        return []


async def test_a_server_that_is_stopped_in_mid_call_answers_first(source, profiles, fresh_name, tmp_path):
    site, file = rpc.write(tmp_path / "site", source), str(tmp_path / "notes")
    async with running(profiles) as hub, server(site, profiles) as process:
        call = hub.rpc[fresh_name].noted.submit(file, "x", timeout=2 * DEADLINE)
        await eventually(lambda: len(_lines(file)) == 1, DEADLINE)
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        (tmp_path / "notes.go").touch()
        assert await call == ["x"]
        async with asyncio.timeout(DEADLINE):
            assert await process.wait() == 0


async def test_a_request_that_nobody_took_before_its_deadline_is_never_run(world, profiles, fresh_name):
    async with serving(world, profiles) as hub:
        assert await hub.rpc[fresh_name].hello(1) == 1
        await hub.evbus.rpc.stop()
        with pytest.raises(RpcTimeout, match=r"gave no answer within 0.3 s"):
            await hub.rpc[fresh_name].slow(0, timeout=0.3)
        await asyncio.sleep(0.3)
        await hub.evbus.rpc.start()
        assert await hub.rpc[fresh_name].hello(2, timeout=DEADLINE) == 2
        assert hub.SEEN == []


async def test_a_reply_queue_that_is_deleted_is_made_again(rabbitmq, world, profiles, fresh_name):
    async with serving(world, profiles) as hub:
        assert await hub.rpc[fresh_name].hello(1) == 1
        lost = hub.rpc[fresh_name].waits.submit(timeout=3.0)
        await eventually(lambda: hub.SEEN == ["begun"], DEADLINE)
        queue = client(hub)._consumer.subscription.queue
        async with channel(rabbitmq.url) as opened:
            await opened.queue_delete(queue)
            await eventually(lambda: client(hub).trouble, DEADLINE)
            assert await hub.rpc[fresh_name].hello(2, timeout=DEADLINE) == 2
            # The answer that comes after that finds its way, too
            hub.GO_ON.set()
            assert await lost == 1
        await eventually(lambda: settled(hub), DEADLINE)


async def test_a_request_queue_that_is_deleted_is_made_again(rabbitmq, world, profiles, fresh_name):
    async with serving(world, profiles) as hub:
        assert await hub.rpc[fresh_name].hello(1) == 1
        async with channel(rabbitmq.url) as opened:
            await opened.queue_delete(f"rpc-{fresh_name}")
        async with asyncio.timeout(DEADLINE):
            while await consumers(rabbitmq.url, f"rpc-{fresh_name}") != 1:  # noqa: ASYNC110 - a broker cannot wake us
                await asyncio.sleep(0.1)
        assert await hub.rpc[fresh_name].hello(2, timeout=DEADLINE) == 2


async def test_an_answer_too_large_is_an_error_of_that_call_alone(world, profiles, fresh_name):
    profiles["amqp"]["default"]["max_event_bytes"] = 100_000
    async with serving(world, profiles) as hub:
        with pytest.raises(UnserializableValue, match="more than the profile's max_event_bytes"):
            await hub.rpc[fresh_name].big(200_000)
        with pytest.raises(UnserializableValue, match="more than max_event_bytes"):
            await hub.rpc[fresh_name].hello("x" * 200_000)
        assert len(await hub.rpc[fresh_name].big(90_000)) == 90_000


NOBODY = b"nobody"
HOSTILE = {
    "a reply_to that is nobody's": (NOBODY, b"x"),
    "no reply_to": (b"", b"x"),
    "a reply_to that is no UTF-8": (b"\xff" * 255, b"x"),
    "a correlation id that is no UTF-8": (NOBODY, b"\xfe" * 255),
    "another method": (b"world.hello", b"x"),
    "a pattern": (b"#", b""),
}


@pytest.mark.parametrize(("reply_to", "correlation_id"), HOSTILE.values(), ids=HOSTILE)
async def test_forged_addresses_reach_nobody_and_stop_nothing(
    rabbitmq, world, profiles, fresh_name, reply_to, correlation_id
):
    async with serving(world, profiles) as hub, channel(rabbitmq.url) as opened:
        assert await hub.rpc[fresh_name].hello(1) == 1
        plain = await opened.get_underlay_channel()
        texts = (b"application/json", correlation_id, reply_to)
        properties = b"\x86\x00" + b"".join(bytes([len(text)]) + text for text in texts)
        for body in (b'{"args": [0], "kwargs": {}}', b"[" * 50_000, b"\xff"):
            for method in ("slow", "nope", "hello.there", ""):
                await send_raw(plain, "nameko-rpc", f"{fresh_name}.{method}", properties, body)
        # And to the reply queue, answers that nobody waits for
        key = client(hub)._reply_to
        for body in (b'{"result": 1, "error": null}', b"[" * 50_000, b"\xff"):
            await send_raw(plain, "nameko-rpc", key, properties, body)
        await eventually(lambda: client(hub).stats.late == 3 and hub.SEEN.count("ended") == 1, DEADLINE)
        assert await hub.rpc[fresh_name].hello(2) == 2

        def facts():
            return next(iter(hub.evbus.rpc.status()["serving"].values()))

        await eventually(lambda: facts()["handled"] == 11, DEADLINE)  # three bodies to three methods, and two calls
        assert (facts()["state"], facts()["failed"], facts()["lost"]) == ("open", 0, 0)


async def test_connections_that_are_reset_end_no_call_without_an_answer_or_its_deadline(
    world, rabbitmq, profiles, proxy, fresh_name
):
    async with serving(world, profiles), running(through(proxy)) as hub:
        service = hub.rpc[fresh_name]
        assert await service.hello(0) == 0
        for round in range(3):
            calls = [service.hello.submit(n, timeout=4.0) for n in range(100)]
            await asyncio.sleep(0.01 * round)
            proxy.reset()
            answers = await asyncio.gather(*calls, return_exceptions=True)
            for n, answer in enumerate(answers):
                assert answer == n or isinstance(answer, RpcTimeout), answer
            assert await service.hello(7, timeout=DEADLINE) == 7
        await eventually(lambda: settled(hub), DEADLINE)


async def test_servers_whose_connection_is_reset_answer_all_calls(world, rabbitmq, profiles, proxy, fresh_name):
    async with serving(world, through(proxy)), running(profiles) as hub:
        service = hub.rpc[fresh_name]
        assert await service.hello(0) == 0
        for _ in range(3):
            calls = [service.hello.submit(n, timeout=DEADLINE) for n in range(100)]
            await eventually(lambda: client(hub).stats.answers > 5, DEADLINE)
            proxy.reset()
            assert await asyncio.gather(*calls) == list(range(100))
        await eventually(lambda: settled(hub), DEADLINE)


async def test_a_connection_that_answers_nothing_any_more_costs_calls_their_deadline_and_is_made_again(
    world, rabbitmq, profiles, proxy, fresh_name
):
    async with serving(world, profiles), running(through(proxy, heartbeat=1)) as hub:
        service = hub.rpc[fresh_name]
        assert await service.hello(0) == 0
        proxy.black_hole()
        begun = time.monotonic()
        answers = await asyncio.gather(*(service.hello(n, timeout=1.0) for n in range(50)), return_exceptions=True)
        assert all(isinstance(answer, RpcTimeout) for answer in answers)
        assert time.monotonic() - begun < DEADLINE
        await eventually(lambda: client(hub).trouble, DEADLINE)
        proxy.heal()
        assert await service.hello(1, timeout=DEADLINE) == 1
        await eventually(lambda: settled(hub), DEADLINE)


async def test_a_caller_that_is_cancelled_leaves_nothing_behind(world, profiles, fresh_name):
    async with serving(world, profiles) as hub:
        calls = [hub.rpc[fresh_name].waits.submit() for _ in range(5)]
        await eventually(lambda: len(hub.SEEN) == 5, DEADLINE)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        hub.GO_ON.set()
        await eventually(lambda: client(hub).stats.late == 5 and settled(hub), DEADLINE)
        assert await hub.rpc[fresh_name].hello(1) == 1


async def test_nothing_is_left_on_the_broker_but_the_services_queue(rabbitmq, world, profiles, fresh_name):
    async with serving(world, profiles, service_name=fresh_name) as hub:
        assert await hub.rpc[fresh_name].hello(1) == 1
        with pytest.raises(RemoteError):
            await hub.rpc[fresh_name].big("x")
    rows = json.loads(rabbitmq.ctl("list_queues", "name", "messages", "consumers", "arguments", "--formatter", "json"))
    mine = {row["name"].replace(fresh_name, "X"): row for row in rows if fresh_name in row["name"]}
    own = mine.pop("rpc-X")
    assert (own["messages"], own["consumers"], without_type(own["arguments"])) == (0, 0, [])
    ((name, reply),) = mine.items()  # RabbitMQ removes it by itself
    assert name.startswith("rpc.reply-X-")
    assert reply["messages"] == 0
    assert "x-expires" in json.dumps(reply["arguments"])


async def test_a_call_during_an_alarm_names_it_and_its_method_does_not_run_after_the_caller_has_given_up(
    rabbitmq, world, profiles, fresh_name
):
    async with serving(world, profiles) as hub:
        service = hub.rpc[fresh_name]
        assert await service.hello(1) == 1
        async with alarm(rabbitmq):
            with pytest.raises(RpcTimeout):  # on its way when RabbitMQ says that its alarm is on
                await service.hello(2, timeout=1.0)
            with pytest.raises(RpcTimeout, match="low on memory"):
                await service.slow(0, timeout=1.0)
            assert "low on memory" in client(hub).trouble
        assert await service.hello(3, timeout=DEADLINE) == 3
        await eventually(lambda: client(hub).trouble == "", DEADLINE)
        assert hub.SEEN == []


@pytest.mark.parametrize("kind", ["memory", "disk"])
async def test_during_an_alarm_answers_wait_however_long_it_lasts_and_no_method_runs_again(
    rabbitmq, world, profiles, fresh_name, monkeypatch, kind
):
    monkeypatch.setattr(reply, "DURABLE_WITHIN", 1.0)
    async with serving(world, profiles) as hub:
        service = hub.rpc[fresh_name]
        assert await service.hello(1) == 1
        calls = [service.waits.submit(timeout=DEADLINE) for _ in range(5)]
        await eventually(lambda: len(hub.SEEN) == 5, DEADLINE)
        async with alarm(rabbitmq, kind):
            # When the methods end during the alarm, the first answer before RabbitMQ says so, the others later
            hub.GO_ON.set()
            await asyncio.sleep(5.0)
            hub.SEEN.append("alarm over")
        # Then all answers arrive when it is over, and each method has run once
        assert await asyncio.gather(*calls) == [5] * 5
        assert hub.SEEN == ["begun"] * 5 + ["alarm over"]
        await eventually(lambda: settled(hub), DEADLINE)
