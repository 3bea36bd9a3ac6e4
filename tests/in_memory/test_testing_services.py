"""The bus with services that ships for an application's own tests."""

import asyncio

import pytest

from evbus_like.engine.errors import HandlerError, IncorrectSignature, RemoteError, UnknownService, UnserializableValue
from evbus_like.testing import handling, new_hub

WORLD = """
    PROFILE = "amqp:far"

    async def hello(hub, name, times=1):
        await hub.evbus.broker.put("greeted", name, profile="greetings")
        return ("hello", name, times)

    def shout(hub, text):
        return text.upper()

    class TooOld(Exception):
        pass

    async def fail(hub):
        raise TooOld("no", 5)

    async def bad(hub):
        return object()

    async def onward(hub, name):
        return evbus.transfer("mars", "hello", name, times=2)

    async def charge(hub, amount):
        return await hub.rpc.bank.charge(amount)

    async def who(hub):
        return evbus.current().event.headers["who"]
"""
SHOP = """
    @evbus.handler("orders", "placed", profile="kafka:orders")
    async def ship(hub, event):
        await hub.rpc.world.shout.ask(text=event.body)

    @evbus.on_response("world", "shout")
    async def shouted(hub, event):
        await hub.evbus.broker.put("heard", event.body)
"""


@pytest.fixture
def hub(app):
    return app(WORLD, handler__shop=SHOP)


async def test_services_are_called_over_the_bus_in_memory_whatever_their_profiles_are_called(hub):
    async with handling(hub) as bus:
        assert await bus.hub.rpc.world.hello("ann", times=2) == ["hello", "ann", 2]
        assert await bus.hub.rpc.world.shout(text="a") == "A"
        with pytest.raises(RemoteError, match="TooOld"):
            await bus.hub.rpc.world.fail()
        assert bus.find("greeted", profile="greetings")[0].body == "ann"


async def test_a_handler_calls_a_service_and_the_answer_goes_to_a_handler(hub):
    async with handling(hub) as bus:
        await bus.dispatch("orders", "placed", "tea")
        await bus.handled("shop.ship")
        answer = await bus.handled(bus.hub.handler.shop.shouted)
        assert (answer.service, answer.routing_key, answer.body) == ("world", "shout", "TEA")
        assert (await bus.was_put("heard"))[0].body == "TEA"


async def test_an_application_that_has_not_said_its_name_can_be_tested(app):
    more = "@evbus.on_error('world', 'fail')\nasync def sorry(hub, event): ...\n"
    async with handling(app(WORLD, handler__shop=SHOP, handler__more=more)) as bus:
        await bus.hub.rpc.world.fail.ask()
        assert (await bus.handled("more.sorry")).body["class"] == "TooOld"


async def test_a_handler_of_answers_is_called_by_itself(hub):
    async with handling(hub, only="world") as bus:
        outcome = await bus.call("shop.shouted", "TEA")
        assert (outcome.event.service, outcome.sent[0].body) == ("world", "TEA")


async def test_a_method_is_called_by_itself_and_its_own_error_is_raised(hub):
    async with handling(hub, only="shop.*") as bus:
        reply = await bus.request("world.hello", "ann", times=3)
        assert (reply.method, reply.result) == ("world.hello", ["hello", "ann", 3])
        assert [each.routing_key for each in reply.sent] == ["greeted"]
        assert (await bus.request(bus.hub.service.world.shout, text="a")).result == "A"
        assert (await bus.request("world.who", _headers={"who": "ann"})).result == "ann"
        with pytest.raises(Exception, match="no") as caught:
            await bus.request("world.fail")
        assert (type(caught.value).__name__, caught.value.args) == ("TooOld", ("no", 5))


async def test_what_a_caller_would_get_as_an_error_is_raised(hub):
    async with handling(hub) as bus:
        with pytest.raises(IncorrectSignature, match="name"):
            await bus.request("world.hello", nmae="ann")
        with pytest.raises(UnserializableValue):
            await bus.request("world.bad")
        with pytest.raises(HandlerError, match=r"there is no method 'world\.helo'; did you mean 'world\.hello'"):
            await bus.request("world.helo")


async def test_a_transfer_says_where_to_and_calls_nobody(hub):
    async with handling(hub) as bus:
        to = (await bus.request("world.onward", "ann")).transfer
        assert (to.service, to.method, to.args, to.kwargs) == ("mars", "hello", ("ann",), {"times": 2})


async def test_a_service_that_the_test_makes_up_answers_in_place_of_another_application(hub):
    async with handling(hub) as bus:
        with pytest.raises(RemoteError, match="nobody serves 'bank'"):
            await bus.hub.rpc.world.charge(5)
        charged = []
        await bus.serve("bank", charge=lambda amount: charged.append(amount) or "ok", balance=_balance)
        assert await bus.hub.rpc.world.charge(5) == "ok"
        assert await bus.hub.rpc.bank.balance() == 7
        assert charged == [5]
        with pytest.raises(IncorrectSignature):
            await bus.hub.rpc.bank.charge()


async def _balance():
    return 7


async def test_a_made_up_service_must_not_stand_beside_the_applications_own(hub):
    async with handling(hub) as bus:
        with pytest.raises(HandlerError, match="the application serves 'world' itself"):
            await bus.serve("world", hello=print)
    async with handling(new_hub(), skip="world") as bus:
        with pytest.raises(HandlerError, match="must be a function that answers"):
            await bus.serve("world", hello="hello")
        await bus.serve("world", hello=lambda: "made up")
        assert await bus.hub.rpc.world.hello() == "made up"


async def test_only_and_skip_choose_methods(hub):
    async with handling(hub, only="world.hello") as bus:
        assert await bus.hub.rpc.world.hello("ann")
        with pytest.raises(Exception, match="no method 'shout'"):
            await bus.hub.rpc.world.shout("a")
    async with handling(new_hub(), skip=["world"]) as bus:
        with pytest.raises(UnknownService):
            await bus.hub.rpc.world.hello("ann")


async def test_the_end_leaves_no_task(hub):
    before = asyncio.all_tasks()
    async with handling(hub) as bus:
        await bus.serve("bank", charge=lambda amount: amount)
        await bus.hub.rpc.world.charge(1)
        await bus.request("world.shout", "a")
    assert asyncio.all_tasks() == before
