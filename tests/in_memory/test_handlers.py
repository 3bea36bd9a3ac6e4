"""evbus/handlers.py and hub/application/handlers.py: marked functions of the handler dyne receive, in memory."""

import asyncio
import sys
import textwrap
import threading

import pytest

from evbus_like.engine import handling
from evbus_like.engine.errors import HandlerError, HandlerShutdown, LifecycleError
from evbus_like.engine.receiving.threads import ContextThreads
from evbus_like.testing import eventually, new_hub, running
from tests.unit.fakes import HANG

IMPORT = "import asyncio, threading, time\nimport evbus_like.handlers as evbus\n"
SERVICE = "evbus-service"


@pytest.fixture
def app(package, monkeypatch):
    """A function that writes handler plugins, {"shipping": source}, and gives a hub that finds them."""

    def make(**plugins):
        files = {f"handler/{name}.py": IMPORT + textwrap.dedent(source) for name, source in plugins.items()}
        monkeypatch.syspath_prepend(package(files))
        hub = new_hub()
        hub.SEEN = []
        return hub

    yield make
    for name in [name for name in sys.modules if name.startswith("their_app")]:
        del sys.modules[name]


async def put(hub, event_type, body=b"x", service="orders", **headers):
    return await hub.evbus.broker.put(event_type, body, headers={SERVICE: service, **headers})


async def begin(hub):
    await hub.evbus.handlers.start()
    await hub.evbus.handlers.join(HANG)


async def seen(hub, count):
    await eventually(lambda: len(hub.SEEN) >= count, HANG)
    return hub.SEEN


async def problem(hub, profiles=None, **options):
    async with running(profiles, hub, timeout=1.0):
        with pytest.raises(HandlerError) as found:
            await hub.evbus.handlers.start(**options)
        assert hub.evbus.handlers.status() == {}
    return str(found.value)


ONE = """
    @evbus.handler("orders", "placed")
    async def ship(hub, event):
        hub.SEEN.append(event.body)
"""


# ---- what is refused at the start


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('@evbus.handler("orders", "placed")\nasync def f(hub): ...', "it takes no event"),
        ('@evbus.handler("orders", "placed")\nasync def f(hub, a, b): ...', "nothing is given for b"),
        ('@evbus.handler("orders", "placed")\ndef f(hub, event):\n    yield', "it is a generator"),
        ('@evbus.handler("orders", "placed")\nasync def f(hub, event):\n    yield', "it is a generator"),
        ('@evbus.handler("orders", "pla*")\nasync def f(hub, event): ...', "stand for whole words"),
        ('@evbus.handler("orders", None)\nasync def f(hub, event): ...', "event_type must be non-empty text"),
        ('@evbus.handler("", "a")\nasync def f(hub, event): ...', "source must be non-empty text"),
        (
            '@evbus.handler("orders", "a", attempts=1.5)\nasync def f(hub, event): ...',
            "attempts must be a whole number",
        ),
        ('@evbus.handler("orders", "a", max_workers=0)\nasync def f(hub, event): ...', "max_workers must be a whole"),
        ('@evbus.handler("orders", "a", timeout=0)\nasync def f(hub, event): ...', "timeout must be greater than 0"),
        ('@evbus.handler("orders", "a", dedup=-1)\nasync def f(hub, event): ...', "dedup must be the number of"),
        (
            '@evbus.handler("orders", "a", dedup_durable=True)\nasync def f(hub, event): ...',
            "dedup_durable needs dedup=",
        ),
        ('@evbus.handler("orders", "a", dedup=True)\nasync def f(hub, event): ...', "dedup must be the number of"),
        (
            '@evbus.handler("orders", "a", reliable="no")\nasync def f(hub, event): ...',
            "reliable must be True or False",
        ),
        ('@evbus.handler("orders", "a", requeue_on_error="no")\nasync def f(hub, event): ...', "must be True or False"),
        (
            '@evbus.handler("orders", "a")\nasync def _f(hub, event): ...',
            "pop keeps functions whose names begin with _",
        ),
        ('@evbus.handler("orders", "a")\nclass Ship: ...', "mark functions, def or async def, not <class"),
        (
            '@evbus.handler("orders", "a", on_error="retri")\nasync def f(hub, event): ...',
            "on_error must be one of evbus.RETRY",
        ),
        ('@evbus.handler("orders", "a", delivery="x")\nasync def f(hub, event): ...', "delivery must be evbus.SERVICE"),
        ('@evbus.handler("orders", "a", expected_exceptions="ValueError")\nasync def f(hub, event): ...', "classes of"),
        ('@evbus.handler("orders", "a", sensitive=[1])\nasync def f(hub, event): ...', "sensitive must be names"),
        ('@evbus.handler("orders", "a", name=7)\nasync def f(hub, event): ...', "name must be text"),
        ('@evbus.handler("orders", "a", profile=None)\nasync def f(hub, event): ...', "profile must be text"),
        ('@evbus.handler("orders", "a", profile="defualt")\nasync def f(hub, event): ...', "unknown source profile"),
        ('@evbus.handler("orders", "a", since="earliest")\nasync def f(hub, event): ...', "internal:default cannot"),
        (
            '@evbus.handler("orders", "a", delivery=evbus.BROADCAST)\nasync def f(hub, event): ...',
            "BROADCAST with reliable delivery needs a broadcast_identifier",
        ),
        ("import no_such_library", "the handler plugin 'shipping' could not be loaded: ModuleNotFoundError"),
        ("1 / 0", "the handler plugin 'shipping' could not be loaded: ZeroDivisionError"),
        (
            '@evbus.handler("orders", "a", on_error="reject", requeue_on_error=True)\nasync def f(hub, event): ...',
            "say different things",
        ),
    ],
)
async def test_a_handler_that_cannot_be_used_is_named_with_the_reason(app, source, message):
    hub = app(shipping=textwrap.dedent(source))
    text = await problem(hub)
    assert message in text
    assert "shipping" in text


async def test_all_that_is_wrong_is_reported_at_once(app):
    text = await problem(app(one="1 / 0", two='@evbus.handler("a", "b")\ndef f(hub): ...'))
    assert "'one'" in text
    assert "handler.two.f" in text


async def test_what_only_the_source_knows_to_be_wrong_is_reported_with_the_rest(app):
    text = await problem(
        app(
            one='@evbus.handler("a", "b")\ndef f(hub): ...\n@evbus.handler("a", "b")\ndef good(hub, event): ...',
            two='@evbus.handler("a", "b", profile="defualt")\ndef f(hub, event): ...',
        )
    )
    assert "handler.one.f: it takes no event" in text
    assert "handler.two.f: unknown source profile 'defualt'" in text
    assert "good" not in text


async def test_a_function_of_init_py_is_refused(app):
    text = await problem(app(init='@evbus.handler("a", "b")\ndef f(hub, event): ...', one=ONE))
    assert "handler.init.f: functions of init.py are not called" in text


async def test_a_plugin_that_does_not_import_is_refused_at_the_second_start_too(app):
    hub = app(shipping=f"{textwrap.dedent(ONE)}\n1 / 0")
    await problem(hub)
    assert "ZeroDivisionError" in await problem(hub)


@pytest.mark.parametrize(
    "source",
    [
        '@evbus.handler("orders", "a", name="x")\ndef f(hub, event): ...\n'
        '@evbus.handler("orders", "b", name="x")\ndef g(hub, event): ...',
        '@evbus.handler("orders", "a")\n@evbus.handler("orders", "a")\ndef f(hub, event): ...',
    ],
    ids=["two functions", "one function twice"],
)
async def test_two_listeners_of_one_name_are_refused(app, source):
    assert "has a listener" in await problem(app(shipping=source))


async def test_one_function_may_listen_for_several_types(app):
    hub = app(
        shipping="""
        @evbus.handler("orders", "placed")
        @evbus.handler("orders", ["paid", "user.#"])
        async def f(hub, event):
            hub.SEEN.append(event.routing_key)
        """
    )
    async with running(hub=hub):
        assert await hub.evbus.handlers.start() == 2
        await hub.evbus.handlers.join()
        for each in ("placed", "paid", "user", "user.made.twice", "other"):
            await put(hub, each)
        assert sorted(await seen(hub, 4)) == ["paid", "placed", "user", "user.made.twice"]


async def test_handlers_need_the_bus_and_are_started_once(app):
    hub = app(shipping=ONE)
    with pytest.raises(LifecycleError, match="needs the bus"):
        await hub.evbus.handlers.start()
    async with running(hub=hub):
        await hub.evbus.handlers.start()
        with pytest.raises(LifecycleError, match="started already"):
            await hub.evbus.handlers.start()


async def test_only_and_skip_choose_among_handlers(app):
    hub = app(
        shipping='@evbus.handler("o", "a")\ndef f(hub, event): ...\n@evbus.handler("o", "a")\ndef g(hub, event): ...',
        billing='@evbus.handler("o", "a")\ndef f(hub, event): ...',
    )
    async with running(hub=hub):
        for options, count in (
            ({"only": ["shipping"]}, 2),
            ({"only": ["*.f"]}, 2),
            ({"skip": ["shipping.g"]}, 2),
            ({"only": ["shipping"], "skip": ["*.f"]}, 1),
        ):
            assert await hub.evbus.handlers.start(**options) == count
            await hub.evbus.handlers.stop()


async def test_two_handlers_that_share_a_queue_are_both_in_the_status(app):
    hub = app(
        shipping='@evbus.handler("o", "a", delivery=evbus.SINGLETON)\ndef f(hub, event): ...\n'
        '@evbus.handler("o", "a", delivery=evbus.SINGLETON)\ndef g(hub, event): ...'
    )
    async with running(hub=hub):
        await hub.evbus.handlers.start()
        assert sorted(each["handler"] for each in hub.evbus.handlers.status().values()) == ["shipping.f", "shipping.g"]


# ---- sync handlers


async def test_a_function_that_is_not_async_runs_in_a_thread_and_may_put_in_both_ways(app):
    hub = app(
        shipping="""
        @evbus.handler("orders", "placed")
        def ship(hub, event):
            hub.evbus.broker.put_nowait("shipped", "nowait", headers={"evbus-service": "shipping"})
            asyncio.run(hub.evbus.broker.put("shipped", "put", headers={"evbus-service": "shipping"}))
            hub.SEEN.append(threading.current_thread())
        @evbus.handler("shipping", "shipped")
        async def after(hub, event):
            hub.SEEN.append((event.body, event.headers["causation-id"], event.headers["correlation-id"]))
        """
    )
    async with running(hub=hub):
        await begin(hub)
        receipt = await put(hub, "placed")
        found = await seen(hub, 3)
    assert threading.main_thread() not in found
    texts = sorted(each for each in found if isinstance(each, tuple))
    assert texts == [("nowait", receipt.id, receipt.id), ("put", receipt.id, receipt.id)]


@pytest.mark.parametrize(
    "error", ["StopIteration", "GeneratorExit", "SystemExit(1)", "asyncio.CancelledError", "KeyError(1)"]
)
async def test_whatever_a_thread_raises_the_event_is_settled_and_the_next_handled(app, error):
    hub = app(
        shipping=f"""
        @evbus.handler("orders", "placed", on_error=evbus.REJECT, max_workers=1)
        def ship(hub, event):
            if event.body == "bad":
                raise {error}
            hub.SEEN.append(event.body)
        """
    )
    async with running(hub=hub):
        await begin(hub)
        await put(hub, "placed", "bad")
        await put(hub, "placed", "good")
        assert await seen(hub, 1) == ["good"]
        (facts,) = hub.evbus.handlers.status().values()
        assert facts["dead"] == 1


async def test_a_plain_function_that_gives_a_coroutine_has_it_awaited(app):
    hub = app(
        shipping="""
        async def work(hub, event):
            hub.SEEN.append(event.body)
        @evbus.handler("orders", "placed")
        def ship(hub, event):
            return work(hub, event) if not hasattr(hub.handler.shipping.work, "x") else None
        """
    )
    async with running(hub=hub):
        await begin(hub)
        await put(hub, "placed", "a")
        assert await seen(hub, 1) == ["a"]


async def test_threads_that_never_end_do_not_use_up_the_attempts_of_others(app):
    hub = app(
        shipping="""
        @evbus.handler("orders", "placed", timeout=0.5, max_workers=2, on_error=evbus.REJECT)
        def ship(hub, event):
            if event.body == "slow":
                hub.GATE.wait(10)
            hub.SEEN.append(event.body)
        """
    )
    hub.GATE = threading.Event()
    async with running(hub=hub):
        await begin(hub)
        for body in ("slow", "slow", "a", "b"):
            await put(hub, "placed", body)
        await eventually(lambda: next(iter(hub.evbus.handlers.status().values()))["dead"] == 2, HANG)
        await asyncio.sleep(0.2)  # both threads are held; what waits for one is not late
        hub.GATE.set()
        found = await seen(hub, 4)
        (facts,) = hub.evbus.handlers.status().values()
    assert sorted(found) == ["a", "b", "slow", "slow"]
    assert facts["dead"] == 2


# ---- what is carried on


async def test_the_trace_the_correlation_and_the_call_stack_are_carried_on(app):
    hub = app(
        shipping="""
        @evbus.handler("orders", "placed")
        async def ship(hub, event):
            await hub.evbus.broker.put("shipped", event.id, headers={"evbus-service": "shipping", "own": "1"})
        @evbus.handler("shipping", "shipped")
        async def after(hub, event):
            hub.SEEN.append(event)
        """
    )
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    async with running(hub=hub):
        await begin(hub)
        receipt = await put(hub, "placed", **{"traceparent": trace, "tracestate": "x=1", "correlation-id": "first"})
        (event,) = await seen(hub, 1)
    headers = event.headers
    version, trace_id, span, flags = headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", "a" * 32, "01")
    assert span != "b" * 16
    assert (headers["tracestate"], headers["correlation-id"], headers["causation-id"]) == ("x=1", "first", receipt.id)
    assert headers["own"] == "1"


def received(**headers):
    from evbus_like.engine.receiving.received import ReceivedEvent

    return ReceivedEvent(b"", "placed", "orders", headers.pop("id", "7"), headers)


@pytest.mark.parametrize("stack", [["a.b.1", "c.d.2"], "a.b.1,c.d.2", b"a.b.1,c.d.2"], ids=["list", "text", "bytes"])
def test_namekos_chain_of_calls_grows_by_this_one(stack):
    under_way = handling.Handling(received(**{handling.CALLS: stack}), "shipping.ship")
    assert under_way.headers[handling.CALLS] == ["a.b.1", "c.d.2", "shipping.ship.7"]


def test_namekos_chain_of_calls_keeps_the_latest_ten():
    under_way = handling.Handling(received(**{handling.CALLS: [str(n) for n in range(20)]}), "s.f")
    assert under_way.headers[handling.CALLS] == [*(str(n) for n in range(11, 20)), "s.f.7"]


@pytest.mark.parametrize(
    "trace", ["", "x", "00-1-2-3", f"00-{'0' * 32}-{'b' * 16}-01", f"ff-{'a' * 32}-{'b' * 16}-01", 7]
)
def test_what_is_no_trace_is_not_carried_on(trace):
    assert "traceparent" not in handling.Handling(received(traceparent=trace), "s.f").headers


def test_odd_headers_from_outside_do_not_spoil_what_the_handler_puts():
    odd = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01".encode(), "tracestate": {"a": 1}, "correlation-id": b"c"}
    headers = handling.Handling(received(**odd), "s.f").headers
    assert headers["correlation-id"] == "c"
    assert headers["traceparent"].startswith("00-aaaa")
    assert "tracestate" not in headers


def test_an_event_without_an_id_carries_no_empty_headers():
    assert handling.Handling(received(id=""), "s.f").headers == {}


# ---- consequences


async def test_an_event_is_settled_only_when_what_its_handler_put_is_delivered(app):
    hub = app(
        shipping="""
        @evbus.handler("orders", "placed")
        async def ship(hub, event):
            await hub.evbus.broker.put("full", b"second", profile="small")
            hub.SEEN.append(event.id)
        """
    )
    profiles = {"internal": {"default": None, "small": {"routing_key": "small", "queue_events": 1}}}
    async with running(profiles, hub, timeout=1.0):
        queue = await hub.ingress.internal.get("small")
        await hub.evbus.broker.put("x", b"first", profile="small", confirm="delivered")
        await begin(hub)
        await put(hub, "placed")
        await seen(hub, 1)
        await asyncio.sleep(0.1)
        (facts,) = hub.evbus.handlers.status().values()
        assert facts["handled"] == 0
        await queue.get()
        await eventually(lambda: next(iter(hub.evbus.handlers.status().values()))["handled"] == 1, HANG)


IN_A_LOOP_OF_ITS_OWN = "asyncio.to_thread(lambda: asyncio.run(broker.put(*second, confirm='queued')))"
GIVEN_UP = "asyncio.wait_for(broker.put(*second, confirm='delivered'), 0.1)"


@pytest.mark.parametrize(
    "how",
    [
        "loop.run_in_executor(None, put)",
        "asyncio.to_thread(put)",
        "broker.put(*second, confirm='queued')",
        IN_A_LOOP_OF_ITS_OWN,
        "broker.put(*second, confirm='delivered', timeout=0.1)",
        GIVEN_UP,
    ],
)
async def test_what_a_handler_puts_in_any_way_is_waited_for_too(app, how):
    hub = app(
        shipping=f"""
        import asyncio
        import contextlib
        from evbus_like import errors

        @evbus.handler("orders", "placed")
        async def ship(hub, event):
            loop = asyncio.get_running_loop()

            broker, second = hub.evbus.broker, ("full", b"second", "small")

            def put():
                broker.put_nowait(*second)

            with contextlib.suppress(TimeoutError, errors.NotDelivered):
                await {how}
            hub.SEEN.append(event.id)
        """
    )
    asyncio.get_running_loop().set_default_executor(ContextThreads())  # as `evbus run` does
    profiles = {"internal": {"default": None, "small": {"routing_key": "small", "queue_events": 1}}}
    async with running(profiles, hub, timeout=1.0):
        queue = await hub.ingress.internal.get("small")
        await hub.evbus.broker.put("x", b"first", profile="small", confirm="delivered")
        await begin(hub)
        await put(hub, "placed")
        await seen(hub, 1)
        await asyncio.sleep(0.1)
        (facts,) = hub.evbus.handlers.status().values()
        assert facts["handled"] == 0
        await queue.get()
        await eventually(lambda: next(iter(hub.evbus.handlers.status().values()))["handled"] == 1, HANG)


async def test_a_put_that_found_the_intake_queue_full_is_not_waited_for(app):
    hub = app(
        shipping="""
        import contextlib
        from evbus_like import errors

        @evbus.handler("orders", "placed")
        async def ship(hub, event):
            for number in range(100):  # no await: the listener takes nothing meanwhile
                with contextlib.suppress(errors.QueueFull):
                    hub.evbus.broker.put_nowait("shipped", number)
            hub.SEEN.append(event.id)
        """
    )
    hub.OPT = {"evbus_like": {"max_queued": 10}}
    async with running(hub=hub):
        await begin(hub)
        await put(hub, "placed")
        await eventually(lambda: next(iter(hub.evbus.handlers.status().values()))["handled"] == 1, HANG)


# ---- stop


SLOW = """
    @evbus.handler("orders", "placed", max_workers=1, prefetch=10)
    async def ship(hub, event):
        hub.SEEN.append(event.body)
        await hub.GATE.wait()
        await hub.evbus.broker.put("shipped", event.body)
"""


async def test_stop_of_the_bus_ends_the_handlers_first_even_where_both_are_stopped_at_once(app):
    hub = app(shipping=SLOW)
    hub.GATE = asyncio.Event()
    async with running(hub=hub):
        await begin(hub)
        await put(hub, "placed", 1)
        await seen(hub, 1)
        one = asyncio.create_task(hub.evbus.handlers.stop())
        await asyncio.sleep(0)
        other = asyncio.create_task(hub.evbus.init.stop())
        await asyncio.sleep(0.05)
        assert not one.done()
        assert not other.done()
        hub.GATE.set()
        await one
        account = await other
    assert account.delivered == 2
    assert (await hub.ingress.internal.get("shipped")).qsize() == 1


async def test_stop_may_be_called_twice_and_handlers_started_again(app):
    hub = app(shipping=ONE)
    async with running(hub=hub):
        await hub.evbus.handlers.stop()
        for body in ("a", "b"):
            await begin(hub)
            await put(hub, "placed", body)
            await eventually(lambda body=body: body in hub.SEEN, HANG)
            await asyncio.gather(hub.evbus.handlers.stop(), hub.evbus.handlers.stop())
            await hub.evbus.handlers.stop()


async def test_handlers_are_stopped_from_another_thread_as_well(app):
    hub = app(shipping=ONE)
    async with running(hub=hub):
        await begin(hub)
        await put(hub, "placed", "a")
        await seen(hub, 1)
        await asyncio.to_thread(asyncio.run, hub.evbus.init.stop(5.0))
        assert hub.evbus.handlers.status() == {}


async def test_what_was_received_and_not_handled_comes_again_after_the_next_start_in_order(app):
    hub = app(shipping=SLOW)
    hub.GATE = asyncio.Event()
    async with running(hub=hub):
        await begin(hub)
        for number in range(5):
            await put(hub, "placed", number)
        await seen(hub, 1)
        await hub.evbus.handlers.stop(0.1)
        hub.SEEN.clear()
        hub.GATE.set()
        await begin(hub)
        assert await seen(hub, 5) == [0, 1, 2, 3, 4]


async def test_events_that_were_given_back_unhandled_have_used_up_no_attempt(app):
    hub = app(
        shipping="""
        @evbus.handler("orders", "placed", max_workers=1, prefetch=10)
        async def ship(hub, event):
            hub.SEEN.append((event.body, event.attempt, event.redelivered))
            await hub.GATE.wait()
        """
    )
    hub.GATE = asyncio.Event()
    async with running(hub=hub):
        for _ in range(3):
            await begin(hub)
            if not hub.SEEN:
                await put(hub, "placed", "a")
                await put(hub, "placed", "b")
            await asyncio.sleep(0.05)
            await hub.evbus.handlers.stop(0.05)
        hub.GATE.set()
        await begin(hub)
        await eventually(lambda: ("b", 1, True) in hub.SEEN, HANG)
    assert hub.SEEN == [("a", 1, False), ("a", 1, True), ("a", 1, True), ("a", 1, True), ("b", 1, True)]


async def test_the_queue_of_an_unreliable_handler_goes_with_it_and_a_reliable_ones_stays(app):
    hub = app(
        shipping="""
        @evbus.handler("orders", "placed", reliable=False, max_workers=1)
        async def unreliable(hub, event):
            hub.SEEN.append(("unreliable", event.body))
            await hub.GATE.wait()
        @evbus.handler("orders", "placed")
        async def reliable(hub, event):
            hub.SEEN.append(("reliable", event.body))
        """
    )
    hub.GATE = asyncio.Event()
    async with running(hub=hub):
        await begin(hub)
        await put(hub, "placed", 1)
        await put(hub, "placed", 2)
        await seen(hub, 3)
        await hub.evbus.handlers.stop(0.05)
        assert not [name for name in hub.ingress.internal.QUEUE if "unreliable" in name]
        await put(hub, "placed", 3)
        hub.SEEN.clear()
        hub.GATE.set()
        await begin(hub)
        await put(hub, "placed", 4)
        found = await seen(hub, 3)
    assert sorted(found) == [("reliable", 3), ("reliable", 4), ("unreliable", 4)]


async def test_a_handler_that_shuts_the_worker_down_ends_it_and_its_event_comes_again(app):
    hub = app(
        shipping="""
        @evbus.handler("orders", "placed", on_error=evbus.SHUTDOWN)
        async def ship(hub, event):
            hub.SEEN.append(event.redelivered)
            if not event.redelivered:
                raise ValueError("no")
        """
    )
    async with running(hub=hub):
        await begin(hub)
        await put(hub, "placed")
        with pytest.raises(HandlerShutdown, match="ValueError: no"):
            await asyncio.wait_for(hub.evbus.handlers.ended(), HANG)
        await hub.evbus.handlers.stop()
        await begin(hub)
        assert await seen(hub, 2) == [False, True]


async def test_a_forked_child_is_told_that_the_handlers_are_the_parents(app):
    hub = app(shipping=ONE)
    async with running(hub=hub):
        await begin(hub)
        hub.evbus.RUNTIME.bus.forked = True
        try:
            with pytest.raises(LifecycleError, match="forked"):
                await hub.evbus.handlers.stop()
        finally:
            hub.evbus.RUNTIME.bus.forked = False
