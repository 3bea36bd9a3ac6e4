"""engine/receiving/subscription.py: names and flags of queues, as nameko 2.14 has them."""

import pytest

from evbus_like.engine.receiving import subscription
from evbus_like.engine.receiving.subscription import BROADCAST, SERVICE_POOL, SINGLETON, Subscription


@pytest.mark.parametrize(
    ("options", "queue", "auto_delete", "exclusive"),
    [
        ({"delivery": SERVICE_POOL}, "evt-orders-placed--shipping.ship", False, False),
        ({"delivery": SERVICE_POOL, "reliable": False}, "evt-orders-placed--shipping.ship", True, False),
        ({"delivery": SINGLETON}, "evt-orders-placed", False, False),
        ({"delivery": BROADCAST, "identifier": "host1"}, "evt-orders-placed--shipping.ship-host1", False, False),
        (
            {"delivery": BROADCAST, "identifier": "x", "reliable": False},
            "evt-orders-placed--shipping.ship-x",
            True,
            True,
        ),
    ],
)
def test_queues_are_named_and_flagged_as_nameko_does(options, queue, auto_delete, exclusive):
    asked = Subscription("orders", ("placed",), "shipping", "ship", **options)
    assert (asked.exchange, asked.queue, asked.dead) == ("orders.events", queue, f"{queue}.dead")
    assert (asked.auto_delete, asked.exclusive) == (auto_delete, exclusive)


def test_instances_of_a_broadcast_have_queues_of_their_own_and_those_of_a_pool_share_one():
    def queues(delivery):
        return {
            Subscription("orders", ("placed",), "shipping", "ship", delivery, identifier=each).queue for each in "ab"
        }

    assert len(queues(BROADCAST)) == 2
    assert len(queues(SERVICE_POOL)) == len(queues(SINGLETON)) == 1


def test_an_event_type_is_compared_with_patterns_alone(monkeypatch):
    tried = []
    monkeypatch.setattr(subscription, "matches", lambda pattern, event_type: tried.append(pattern))
    asked = Subscription("orders", ("placed", "paid", "refund.*"), "shipping", "ship")
    assert asked.wants("paid")
    assert not asked.wants("cancelled")
    assert tried == ["refund.*"]
