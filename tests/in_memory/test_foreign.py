"""Code of an application and of its plugins that raises what is no Exception, or has no text: the bus goes on."""

import asyncio
import textwrap

import pytest

from evbus_like import errors
from evbus_like.testing import eventually, running
from tests.rpc import serving
from tests.unit.fakes import HANG

# `boom` raises what the body says: no Exception, an exception whose text ends the process, and one that has none.
BOOM = """
class Mute(Exception):
    def __str__(self):
        raise SystemExit(5)
    __repr__ = __str__

class MuteRefused(errors.DestinationRefused):
    __str__ = __repr__ = Mute.__str__

class Own(BaseException):
    pass

KINDS = {"exit": SystemExit(3), "generator": GeneratorExit(), "own": Own("x"), "mute": Mute("x"),
         "group": BaseExceptionGroup("g", [SystemExit(1)]), "cancelled": asyncio.CancelledError(),
         "stop": StopIteration()}

def boom(kind):
    if kind in KINDS:
        raise KINDS[kind]

class Body:
    def __init__(self, kind):
        self.kind = kind
    def __to_bus__(self):
        boom(self.kind)
        return "fine"
"""
KINDS = ["exit", "generator", "own", "mute", "group", "cancelled"]


def source(text):
    return "import asyncio\nfrom evbus_like import errors\n" + BOOM + textwrap.dedent(text)


PIGEON = source(
    """
    ACCT = ["pigeon"]

    async def publish(hub, ctx, routing_key, body):
        kind = body.decode().strip('"')
        hub.SEEN.append(kind)
        boom(kind)
    """
)
SERVICE = source(
    """
    async def hello(hub, kind):
        return Body(kind)

    async def echo(hub, value):
        return value

    async def argument(hub):
        return Body
    """
)
HANDLERS = source(
    """
    import evbus_like.handlers as evbus

    @evbus.handler("orders", "placed", on_error=evbus.REJECT)
    async def ship(hub, event):
        hub.SEEN.append(event.body)
        boom(event.body)

    @evbus.handler("orders", "placed", on_error=evbus.REJECT)
    def pack(hub, event):
        boom(event.body)
        hub.SEEN.append(f"packed {event.body}")
    """
)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_ingress_plugin_that_raises_anything_costs_its_event_alone(app, kind):
    hub = app(ingress__pigeon=PIGEON)
    profiles = {"pigeon": {"default": {"retry": {"first": 0.001, "max": 0.01, "attempts": 2}}}}
    async with running(profiles, hub) as hub:
        hub.evbus.broker.put_nowait("k", kind)
        await hub.evbus.broker.put("k", "fine", confirm="delivered", timeout=HANG)
        account = hub.evbus.init.account().lanes[0]
    assert (account.delivered, account.dead_lettered) == (1, 1)
    assert hub.SEEN.count("fine") == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_handler_that_raises_anything_has_its_dead_letter_and_handles_the_next(app, kind):
    hub = app(handler__shipping=HANDLERS)
    async with running(None, hub) as hub:
        await hub.evbus.handlers.start()
        await hub.evbus.handlers.join(10)
        for body in (kind, "fine"):
            await hub.evbus.broker.dispatch("orders", "placed", body)
        await eventually(lambda: {"fine", "packed fine"} <= set(hub.SEEN), HANG)
        counts = hub.evbus.handlers.status().values()
        await eventually(lambda: all(each["dead"] == 1 for each in hub.evbus.handlers.status().values()), HANG)
    assert len(counts) == 2


@pytest.mark.parametrize("kind", KINDS)
async def test_an_argument_or_a_result_whose_code_raises_anything_is_an_error_of_the_call(app, kind):
    hub = app(SERVICE)
    async with serving(hub) as hub:
        with pytest.raises(errors.UnserializableValue, match=r"the result of world\.hello"):
            await hub.rpc.world.hello(kind, timeout=HANG)
        argument = (await hub.service.world.argument())(kind)
        with pytest.raises(errors.UnserializableValue, match=r"an argument of world\.echo"):
            await hub.rpc.world.echo(argument)
        with pytest.raises(errors.UnserializableValue):  # in the loop of the bus, for a caller in a thread
            await asyncio.to_thread(hub.rpc.world.echo.sync, argument)
        assert await hub.rpc.world.echo("fine") == "fine"


@pytest.mark.parametrize("kind", [each for each in KINDS if each != "cancelled"])
async def test_a_serializer_that_raises_anything_makes_dead_letters_and_refused_puts(app, kind):
    plugin = source(
        """
        __virtualname__ = "odd"
        CONTENT_TYPE = "application/odd"

        def dump(hub, data):
            boom(data)
            return data.encode()

        def load(hub, data):
            text = data.decode()
            boom(text.removeprefix("load "))
            return text
        """
    )
    hub = app(serialize__odd=plugin, handler__shipping=HANDLERS)
    async with running({"internal": {"default": {"serializer": "odd"}}}, hub) as hub:
        await hub.evbus.handlers.start()
        await hub.evbus.handlers.join(10)
        with pytest.raises(errors.SerializeError):
            await hub.evbus.broker.dispatch("orders", "placed", kind)
        for body in (f"load {kind}", "fine"):
            await hub.evbus.broker.dispatch("orders", "placed", body)
        await eventually(lambda: {"fine", "packed fine"} <= set(hub.SEEN), HANG)
        await eventually(lambda: all(each["dead"] == 1 for each in hub.evbus.handlers.status().values()), HANG)


@pytest.mark.parametrize("kind", [each for each in KINDS if each != "cancelled"])
async def test_a_start_or_a_stop_of_the_application_that_raises_anything_is_named(app, caplog, kind):
    plugin = source("async def start(hub):\n    boom(hub.KIND)\nasync def stop(hub):\n    boom(hub.STOP)\n")
    hub = app(lifespan__pool=plugin)
    hub.KIND, hub.STOP = kind, kind
    with pytest.raises(errors.LifecycleError, match=r"^lifespan\.pool\.start failed: "):
        async with running(None, hub):
            pass
    hub.KIND = "fine"
    async with running(None, hub):
        await hub.evbus.broker.put("k", 1)
    assert "lifespan.pool.stop failed: " in caplog.text
    assert hub.evbus.init.account().delivered == 1


@pytest.mark.parametrize("prefix", ["async ", ""], ids=["async", "sync"])
@pytest.mark.parametrize("kind", [*(each for each in KINDS if each != "cancelled"), "stop"])
async def test_a_middleware_and_an_error_callback_that_raise_anything_stop_nothing(app, kind, prefix):
    hub = app(
        middleware__gate=source("def outgoing(hub, message):\n    boom(message.body)\n"),
        ingress__pigeon=PIGEON + "    if kind == 'bad':\n        raise errors.PoisonEvent('bad')\n",
        handler__callback=source(
            f"{prefix}def called(hub, data):\n    hub.SEEN.append('called')\n    boom(hub.KIND)\n"
        ),
    )
    hub.KIND = kind
    hub.OPT = {"evbus_like": {"error_callback_ref": "handler.callback.called"}}
    hub.pop.sub.add(dyne_name="handler")
    async with running({"pigeon": {"default": {}}}, hub) as hub:
        for _ in range(2):
            with pytest.raises(errors.BadEvent):
                await hub.evbus.broker.put("k", kind)
            await hub.evbus.broker.put("k", "bad")
        await eventually(lambda: hub.SEEN.count("called") == 2, HANG)
        await hub.evbus.broker.put("k", "fine", confirm="delivered", timeout=HANG)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("function", ["validate", "limits"])
async def test_a_plugin_that_raises_anything_while_it_checks_a_profile_is_named_and_its_secrets_are_not(
    app, kind, function
):
    hub = app(ingress__pigeon=PIGEON + source_of_check(function))
    hub.KIND = kind
    with pytest.raises(errors.ProfileError, match=f"profile pigeon:default: {function} of the plugin 'pigeon' failed"):
        async with running({"pigeon": {"default": {"password": "hunter22"}}}, hub):
            pass
    hub.KIND = "secret"
    with pytest.raises(errors.ProfileError, match=r"ValueError: \*\*\* is wrong$") as caught:
        async with running({"pigeon": {"default": {"password": "hunter22"}}}, hub):
            pass
    assert caught.value.__context__ is None


@pytest.mark.parametrize("dyne", ["ingress", "serialize", "middleware", "lifespan"])
async def test_a_plugin_that_ends_the_program_while_it_is_imported_is_named_with_its_place(app, dyne):
    with pytest.raises(errors.HandlerError, match=rf"{dyne}/bad\.py, line \d: .* SystemExit\('no licence'\)"):
        async with running(
            {"internal": {"default": {}}}, app(**{f"{dyne}__bad": "import sys\nsys.exit('no licence')"})
        ):
            pass


def source_of_check(function):
    return textwrap.dedent(
        f"""
        def {function}(hub, ctx):
            boom(hub.KIND)
            raise ValueError(f"{{ctx.acct.password}} is wrong")
        """
    )
