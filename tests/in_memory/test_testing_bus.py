"""The bus with handlers that ships for an application's own tests."""

import asyncio
from pathlib import Path

import pytest

import evbus_like
from evbus_like.engine.errors import HandlerError
from evbus_like.testing import HandlerFailed, NotSeen, handling, new_hub

SHOP = """
    import asyncio
    import time

    import evbus_like.handlers as evbus

    @evbus.handler("orders", "order_placed", profile="amqp:orders", since="earliest")
    async def ship(hub, event):
        await hub.evbus.broker.dispatch(
            "shipping", "shipped", {"id": event.body["id"]}, profile="elsewhere", headers={"a": "b"}
        )

    @evbus.handler("orders", "order_failed", attempts=2, backoff=0.01)
    async def refund(hub, event):
        if event.attempt == 1:
            raise ValueError(f"no money for {event.body['id']}")

    @evbus.handler("shipping", "ship.#", on_error=evbus.REJECT)
    @evbus.handler("shipping", "shipped", name="told")
    def tell(hub, event):
        hub.evbus.broker.put_nowait("mail", event.body, profile="mail")

    @evbus.handler("orders", "slow", timeout=0.2, on_error=evbus.REJECT)
    async def slow(hub, event):
        await asyncio.sleep(60)

    @evbus.handler("orders", "many", batch=3, linger=0.05, on_error=evbus.REJECT)
    async def many(hub, events):
        for event in events:
            if event.body == "bad":
                raise ValueError("bad")
        await hub.evbus.broker.dispatch("shipping", "counted", len(events))

    def unmarked(hub, event):
        pass
"""


@pytest.fixture
def shop(package, monkeypatch):
    monkeypatch.syspath_prepend(package({"handler/shipping.py": SHOP}))
    return new_hub()


async def test_an_event_goes_through_the_handlers_whatever_their_profiles_are_called(shop):
    async with handling(shop) as bus:
        await bus.dispatch("orders", "order_placed", {"id": 7}, profile="orders")

        event = await bus.handled("shipping.ship")
        told = await bus.handled("shipping.told")

    assert event.body == {"id": 7}
    assert (told.routing_key, told.service, told.headers["causation-id"]) == ("shipped", "shipping", event.id)


async def test_a_handler_of_batches_has_an_outcome_for_each_event_and_is_called_by_itself_with_one(shop):
    async with handling(shop, only="shipping.many") as bus:
        for body in ("one", "bad", "two"):
            await bus.dispatch("orders", "many", body)
        found = [await bus.outcome("shipping.many") for _ in range(3)]
        called = await bus.call("shipping.many", "three")
        with pytest.raises(ValueError, match="bad"):
            await bus.call("shipping.many", "bad")
    assert [(each.event.body, type(each.error), each.disposition.kind) for each in found] == [
        ("one", type(None), "ack"),
        ("bad", ValueError, "dead_letter"),
        ("two", type(None), "ack"),
    ]
    assert [each.body for each in called.sent] == [1]


async def test_what_was_put_is_listed_with_where_it_was_put_and_by_whom(shop):
    async with handling(shop) as bus:
        await bus.dispatch("orders", "order_placed", {"id": (1, 2)})
        (shipped,) = await bus.was_put("shipped", service="shipping")
        (mail,) = await bus.was_put(profile="mail")

        assert (shipped.body, shipped.profile, shipped.headers["a"]) == ({"id": [1, 2]}, "elsewhere", "b")
        assert (mail.service, mail.cause, mail.body) == ("", shipped.id, {"id": [1, 2]})
        assert [each.routing_key for each in bus.sent] == ["order_placed", "shipped", "mail"]
        assert bus.find("nothing.#") == []
        bus.clear()
        assert bus.sent == []


async def test_what_the_application_puts_is_there_as_soon_as_put_returns(shop):
    async with handling(shop, only="shipping.ship") as bus:
        await shop.evbus.broker.put("a.b", {"n": 1}, profile="x")
        assert [(each.routing_key, each.body) for each in bus.find("a.*")] == [("a.b", {"n": 1})]
        shop.evbus.broker.put_nowait("c", [1])
        assert [each.routing_key for each in bus.sent] == ["a.b", "c"]


async def test_each_attempt_of_a_handler_is_an_outcome_and_its_error_is_raised(shop):
    async with handling(shop) as bus:
        await bus.dispatch("orders", "order_failed", {"id": 7})

        with pytest.raises(ValueError, match="no money for 7"):
            await bus.handled("shipping.refund")
        again = await bus.outcome(shop.handler.shipping.refund)

    assert (again.error, again.event.attempt) == (None, 2)
    assert again.verdict is again.disposition


async def test_a_timeout_and_a_body_that_cannot_be_read_are_failures_too(shop):
    async with handling(shop) as bus:
        await bus.dispatch("orders", "slow")
        with pytest.raises(HandlerFailed, match="not done within its timeout"):
            await bus.handled("shipping.slow")
        with pytest.raises(HandlerFailed, match="cannot be decoded"):
            await bus.call("shipping.ship", b"{", content_type="application/json")


async def test_what_does_not_happen_is_said_with_what_did(shop):
    async with handling(shop) as bus:
        await bus.dispatch("orders", "order_plaiced")
        with pytest.raises(NotSeen, match=r"it wants events of orders: order_placed; .*put: orders\.order_plaiced"):
            await bus.handled("shipping.ship", timeout=0.05)
        with pytest.raises(NotSeen, match=r"routing_key='shipped'; events that were put: orders\.order_plaiced"):
            await bus.was_put("shipped", timeout=0.05)
        await bus.dispatch("orders", "slow")
        with pytest.raises(AssertionError, match="it still runs"):
            await bus.outcome("shipping.slow", timeout=0.01)


async def test_a_handler_is_called_by_itself_with_what_a_broker_would_give_it(shop):
    async with handling(shop, only="shipping.told") as bus:
        outcome = await bus.call(shop.handler.shipping.ship, {"id": (7,)}, headers={"correlation-id": "c"}, id="e1")

        assert outcome.event.body == {"id": [7]}
        assert [(each.routing_key, each.cause) for each in outcome.sent] == [("shipped", "e1")]
        assert outcome.sent[0].headers["correlation-id"] == "c"
        with pytest.raises(ValueError, match="no money"):
            await bus.call(shop.handler.shipping.refund, {"id": 1})
        assert (await bus.call("shipping.refund", {"id": 1}, attempt=2)).error is None


async def test_a_handler_can_be_called_with_a_cloudevent(shop):
    attributes = {"specversion": "1.0", "id": "7", "source": "/shop", "type": "paid"}
    async with handling(shop) as bus:
        headers = {f"ce_{name}": value for name, value in attributes.items()}
        outcome = await bus.call("shipping.told", {"id": 7}, headers=headers)
    assert outcome.event.cloudevent == {**attributes, "datacontenttype": "application/json"}


async def test_a_call_can_be_given_up(shop):
    async with handling(shop, only="shipping.ship") as bus:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await bus.call("shipping.slow")


async def test_calls_that_name_no_handler_say_what_there_is(shop):
    async with handling(shop, skip=["shipping.slow", "shipping.refund"]) as bus:
        with pytest.raises(HandlerError, match="there is no handler unmarked"):
            await bus.call(shop.handler.shipping.unmarked)
        with pytest.raises(HandlerError, match=r"did you mean 'shipping\.ship'"):
            await bus.handled("shipping.shop")
        with pytest.raises(HandlerError, match=r"shipping\.slow does not run in this test"):
            await bus.handled("shipping.slow")
        with pytest.raises(HandlerError, match=r"for events like ship\.#: say which one"):
            await bus.call("shipping.tell", {})
        assert (await bus.call("shipping.tell", {}, routing_key="ship.late")).event.routing_key == "ship.late"


async def test_without_a_handler_it_is_said_where_they_come_from(shop):
    with pytest.raises(HandlerError, match=r"leave no handler and no service; there are .*shipping\.ship"):
        async with handling(shop, only=["nobody"]):
            pass
    bare = new_hub()
    bare._dynamic["handler"]["paths"][:] = [str(Path(evbus_like.__file__).with_name("handler"))]
    with pytest.raises(HandlerError, match=r"sys\.path"):
        async with handling(bare):
            pass
    assert not bare.evbus.STARTED


async def test_the_end_leaves_no_task(shop):
    before = asyncio.all_tasks()
    async with handling(shop) as bus:
        await bus.dispatch("orders", "order_placed", {"id": 7})
    assert asyncio.all_tasks() == before
    assert not shop.evbus.STARTED


async def test_a_test_need_not_wait_for_what_was_put_for_later(shop, monkeypatch, tmp_path):
    async with handling(shop) as bus:
        assert await bus.pass_time(3600) == 0, "nothing can have been put for later without an outbox"
    monkeypatch.setenv("EVBUS_OUTBOX", str(tmp_path / "outbox.sqlite"))
    async with handling(shop) as bus:
        for number, minutes in enumerate((10, 20, 90)):
            await shop.evbus.broker.dispatch("orders", "order_placed", {"id": number}, delay=60 * minutes)
        assert await bus.pass_time(599) == 0
        assert await bus.pass_time(3600) == 2
        handled = [(await bus.handled("shipping.ship")).body["id"] for _ in range(2)]
        assert handled == [0, 1]
        assert await bus.pass_time(3600) == 0
