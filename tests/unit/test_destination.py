"""hub/profiles/destination.py: an ingress plugin and a profile, as the engine's destination."""

import asyncio
import inspect
from types import SimpleNamespace

import pytest

from evbus_like.engine.errors import DestinationRefused, ProfileError, TransientError
from evbus_like.engine.event import Event
from evbus_like.hub.profiles.destination import PluginDestination, probe


def plugin(**functions):
    """What a plugin module looks like on the hub: functions whose hub is bound already, with their signatures."""

    def bound(function):
        def call(*args, **kwargs):
            return function(None, *args, **kwargs)

        call.signature = inspect.signature(function)
        return call

    return SimpleNamespace(__name__="fake", _funcs={name: bound(function) for name, function in functions.items()})


def made(data=None, **functions):
    return PluginDestination(plugin(**functions), "fake", "default", data or {})


EVENTS = [Event("a", b"1", "p"), Event("b", b"2", "p")]


@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize("with_key", [True, False])
async def test_publish_is_called_once_per_event_sync_or_async_with_or_without_the_routing_key(asynchronous, with_key):
    calls = []

    def with_routing_key(hub, ctx, routing_key, body):
        calls.append((ctx.acct["x"], routing_key, body))

    def without_routing_key(hub, ctx, body):
        calls.append((ctx.acct["x"], None, body))

    async def async_with_routing_key(hub, ctx, routing_key, body):
        with_routing_key(hub, ctx, routing_key, body)

    async def async_without_routing_key(hub, ctx, body):
        without_routing_key(hub, ctx, body)

    publish = {
        (False, True): with_routing_key,
        (False, False): without_routing_key,
        (True, True): async_with_routing_key,
        (True, False): async_without_routing_key,
    }[asynchronous, with_key]

    assert await made({"x": 7}, publish=publish).publish(EVENTS) is None

    assert calls == [(7, "a" if with_key else None, b"1"), (7, "b" if with_key else None, b"2")]


def test_a_publish_with_other_parameters_is_refused_and_the_error_shows_the_right_ones():
    for publish in (
        lambda hub, ctx: 0,
        lambda hub, ctx, body, extra: 0,
        lambda hub, ctx, data: 0,
        lambda ctx, routing_key, body: 0,
    ):
        with pytest.raises(ProfileError, match=r"it must be publish\(hub, ctx, routing_key, body\)"):
            made(publish=publish)


def test_a_publish_may_have_further_parameters_with_defaults():
    made(publish=lambda hub, ctx, body, extra=1, **kwargs: 0)


def test_a_plugin_that_cannot_publish_is_named():
    with pytest.raises(ProfileError, match="'fake' has neither publish nor publish_batch"):
        made(open=lambda hub, ctx: None)


async def test_publish_batch_gets_whole_batches():
    batches = []

    async def publish_batch(hub, ctx, events):
        batches.append(list(events))
        return [None, TransientError("x")]

    outcomes = await made(publish_batch=publish_batch).publish(EVENTS)

    assert batches == [EVENTS]
    assert [type(outcome) for outcome in outcomes] == [type(None), TransientError]


SECRET = {"connection": {"password": "hunter2", "url": "amqp://me:s3cr3t@host"}}


def whole(error):
    """All that an exception shows, and all that it leads to."""
    seen, texts = set(), []
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        texts.append(f"{error} {error!r} {error.args!r}")
        error = error.__cause__ or error.__context__
    return " ".join(texts)


@pytest.mark.parametrize("step", ["open", "publish", "close", "ping", "batch", "outcome"])
@pytest.mark.parametrize("error", [ValueError, DestinationRefused, ConnectionError, TransientError, KeyError])
async def test_no_exception_of_a_plugin_or_its_chain_shows_a_secret(step, error):
    def fail(hub, ctx, *args):
        raise error("login failed: hunter2 at amqp://me:s3cr3t@host")

    def fail_publish(hub, ctx, body):
        fail(hub, ctx)

    def outcomes(hub, ctx, events):
        return [error("hunter2"), error("s3cr3t")]

    functions = {"open": fail, "close": fail, "ping": fail, "publish": fail_publish}
    if step in ("batch", "outcome"):
        functions["publish_batch"] = fail if step == "batch" else outcomes
    destination = made(SECRET, **functions)
    call = {"open": destination.open, "close": destination.close, "ping": destination.ping}.get(
        step, lambda: destination.publish(EVENTS)
    )
    try:
        left = await call()
    except Exception as caught:
        left = [caught]

    for each in left:
        assert "hunter2" not in whole(each)
        assert "s3cr3t" not in whole(each)
        assert not issubclass(error, (DestinationRefused, TransientError)) or type(each) is error


async def test_an_error_without_a_secret_is_not_changed():
    original = ValueError("fine")

    def open(hub, ctx):
        raise original

    with pytest.raises(ValueError, match="fine") as caught:
        await made(SECRET, open=open, publish=lambda hub, ctx, body: 0).open()

    assert caught.value is original


async def test_an_error_keeps_its_kind_when_a_secret_is_removed():
    class Refused(DestinationRefused):
        def __init__(self, code, text):
            super().__init__(f"{code}: {text}")

    def open(hub, ctx):
        raise Refused(403, "hunter2")

    with pytest.raises(DestinationRefused):
        await made(SECRET, open=open, publish=lambda hub, ctx, body: 0).open()


async def test_probe_opens_pings_and_closes_and_closes_after_a_failure_too():
    calls = []

    def note(name, fail=False):
        def step(hub, ctx):
            calls.append(name)
            if fail:
                raise TimeoutError("slow")

        return step

    parts = {"open": note("open"), "close": note("close"), "publish": lambda hub, ctx, body: 0}
    await probe(made(ping=note("ping"), **parts))
    assert calls == ["open", "ping", "close"]

    calls.clear()
    with pytest.raises(TransientError, match="no answer: slow"):
        await probe(made(ping=note("ping", fail=True), **parts))
    assert calls == ["open", "ping", "close"]
    assert asyncio.get_running_loop()


class Wrapped:
    """A function as pop wraps it: `seen` says that the wrapper was called."""

    def __init__(self, func, contracts=False):
        self.func, self.hub, self._has_contracts, self.seen = func, "the hub", contracts, False

    def __call__(self, *args):
        self.seen = True
        return self.func(self.hub, *args)


@pytest.mark.parametrize("contracts", [False, True])
def test_publish_now_is_called_without_the_wrapper_of_pop_unless_a_contract_needs_it(contracts):
    function = Wrapped(lambda hub, ctx, events: len(events) if hub == "the hub" and ctx.acct.x == 7 else 0, contracts)

    destination = PluginDestination(bare(publish_batch=None, publish_now=function), "fake", "default", {"x": 7})

    assert destination.publish_now(EVENTS) == 2
    assert function.seen is contracts


def test_publish_now_of_a_plugin_that_connects_is_not_used():
    function = Wrapped(lambda hub, ctx, events: len(events))
    functions = bare(publish_batch=None, publish_now=function, open=lambda ctx: None)

    assert PluginDestination(functions, "fake", "default", {}).publish_now is None


def bare(**functions):
    functions["publish_batch"] = lambda ctx, events: None
    return SimpleNamespace(__name__="fake", _funcs=functions)


async def test_a_plugin_reports_a_block_through_ctx_and_the_reason_shows_no_secret():
    async def publish(hub, ctx, body):
        ctx.blocked("low on memory, says amqp://guest:verysecret@broker/")
        ctx.blocked(None)

    destination, heard = made({"password": "verysecret"}, publish=publish), []
    await destination.publish(EVENTS[:1])  # where no lane listens, as in `evbus check`
    destination.on_blocked = heard.append
    await destination.publish(EVENTS[:1])

    assert len(heard) == 2
    assert "low on memory" in heard[0]
    assert "verysecret" not in heard[0]
    assert heard[1] is None
