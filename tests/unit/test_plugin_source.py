"""hub/profiles/source.py: an egress plugin as a source, and the connection that its handlers share."""

import asyncio

import pytest

from evbus_like.engine.errors import DestinationRefused, TransientError
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.hub.profiles.source import PluginSource


class Function:
    """A plugin's function as pop gives it."""

    _has_contracts = True

    def __init__(self, call):
        self.call = call

    def __call__(self, *args):
        return self.call(*args)


class Plugin:
    """An egress plugin that notes when its connection is opened and closed, and fails on demand."""

    __name__ = "pigeon"

    def __init__(self):
        self.opened = self.closed = 0
        self.fail = {}
        names = ("open", "close", "subscribe", "receive", "ack", "requeue", "dead", "unsubscribe")
        self._funcs = {name: Function(self._call(name)) for name in names}

    @property
    def connections(self):
        return self.opened - self.closed

    def _call(self, name):
        async def call(ctx, *args):
            await asyncio.sleep(0)
            if (step := self.fail.get(name)) is not None:
                await step() if asyncio.iscoroutinefunction(step) else _raise(step)
            self.opened += name == "open"
            self.closed += name == "close"
            if name == "subscribe":
                assert self.connections == 1, "subscribed without a connection"
            return object()

        return call


def _raise(error):
    raise error


@pytest.fixture
def plugin():
    return Plugin()


@pytest.fixture
def source(plugin):
    return PluginSource(None, plugin, "pigeon", "default", {"connection": {"password": "s3cret-word"}})


WANTED = Subscription("orders", ("placed",), "shipping", "ship")


async def test_handlers_share_one_connection_and_the_last_closes_it(plugin, source):
    feeds = await asyncio.gather(*(source.subscribe(WANTED) for _ in range(3)))
    assert plugin.opened == 1
    for feed in feeds[:2]:
        await source.unsubscribe(feed)
    assert plugin.closed == 0
    await source.unsubscribe(feeds[2])
    assert (plugin.opened, plugin.closed) == (1, 1)
    await source.subscribe(WANTED)
    assert plugin.connections == 1


async def test_a_handler_that_ends_does_not_close_the_connection_of_one_that_subscribes(plugin, source):
    for _ in range(50):
        feed = await source.subscribe(WANTED)
        _, other = await asyncio.gather(source.unsubscribe(feed), source.subscribe(WANTED))
        assert plugin.connections == 1
        await source.unsubscribe(other)
        assert plugin.connections == 0


async def test_a_connection_that_fails_every_subscribe_is_opened_again(plugin, source):
    plugin.fail["subscribe"] = OSError("lost")
    results = await asyncio.gather(*(source.subscribe(WANTED) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(each, OSError) for each in results)
    assert plugin.connections == 0
    del plugin.fail["subscribe"]
    await source.subscribe(WANTED)
    assert plugin.connections == 1


async def test_a_refused_handler_does_not_close_the_connection_of_others(plugin, source):
    feed = await source.subscribe(WANTED)
    plugin.fail["subscribe"] = DestinationRefused("no such exchange")
    with pytest.raises(DestinationRefused):
        await source.subscribe(WANTED)
    assert plugin.connections == 1
    await source.unsubscribe(feed)
    assert plugin.connections == 0


async def test_a_refused_handler_without_others_closes_the_connection(plugin, source):
    plugin.fail["subscribe"] = DestinationRefused("no such exchange")
    with pytest.raises(DestinationRefused):
        await source.subscribe(WANTED)
    assert plugin.connections == 0


async def test_a_close_that_never_ends_is_abandoned(plugin, source):
    source.timeout = 0.05
    feed = await source.subscribe(WANTED)
    plugin.fail["close"] = asyncio.Event().wait
    with pytest.raises(TimeoutError):
        await source.unsubscribe(feed)


@pytest.mark.parametrize("verb", ["subscribe", "receive", "ack"])
async def test_a_cancellation_by_the_client_counts_as_a_lost_connection(plugin, source, verb):
    feed = await source.subscribe(WANTED)
    plugin.fail[verb] = asyncio.CancelledError()
    call = {"subscribe": lambda: source.subscribe(WANTED), "receive": lambda: source.receive(feed)}
    with pytest.raises(TransientError, match="connection is lost"):
        await call.get(verb, lambda: source.ack(feed, []))()


async def test_a_receive_can_be_cancelled(plugin, source):
    feed = await source.subscribe(WANTED)
    plugin.fail["receive"] = asyncio.Event().wait
    task = asyncio.create_task(source.receive(feed))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_no_error_shows_a_secret(plugin, source):
    plugin.fail["open"] = RuntimeError("login with s3cret-word failed")
    with pytest.raises(TransientError) as found:
        await source.subscribe(WANTED)
    assert "s3cret-word" not in str(found.value)
    assert found.value.__context__ is None


class Mute(Exception):
    """An exception whose text cannot be had."""

    def __str__(self):
        raise SystemExit(5)


@pytest.mark.parametrize("verb", ["open", "close", "subscribe", "receive", "ack", "dead", "unsubscribe"])
@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), Mute()], ids=lambda each: type(each).__name__)
async def test_what_a_plugin_raises_is_an_exception_with_a_text(plugin, source, verb, error):
    plugin.fail[verb] = error
    calls = {"receive": (object(),), "ack": (object(), []), "dead": (object(), object(), "x")}

    async def subscribed_and_not():
        await source.unsubscribe(await source.subscribe(WANTED))

    with pytest.raises(Exception, match=type(error).__name__):
        await (getattr(source, verb)(*calls[verb]) if verb in calls else subscribed_and_not())
