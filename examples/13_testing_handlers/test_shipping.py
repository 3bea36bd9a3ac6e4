"""Tests of the application of example 12: in memory, without a broker."""

import pytest


async def test_an_order_is_shipped_and_the_customer_is_told(bus):
    await bus.dispatch("orders", "order_placed", {"id": 1})

    await bus.handled("shipping.ship")
    told = await bus.handled("mail.tell")

    assert told.body == {"id": 1, "attempt": 1}
    assert [each.routing_key for each in bus.sent] == ["order_placed", "shipped"]


@pytest.mark.evbus(only="shipping")
async def test_a_busy_warehouse_is_tried_again(bus):
    await bus.dispatch("orders", "order_placed", {"id": 2})

    first = await bus.outcome("shipping.ship")
    second = await bus.handled("shipping.ship")

    assert str(first.error) == "try again"
    assert second.attempt == 2


async def test_a_handler_by_itself(bus):
    outcome = await bus.call(bus.hub.handler.shipping.ship, {"id": 7}, headers={"correlation-id": "c1"})

    (shipped,) = outcome.sent
    assert (shipped.service, shipped.body["id"]) == ("shipping", 7)
    assert shipped.headers["correlation-id"] == "c1"
