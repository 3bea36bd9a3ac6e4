"""engine/receiving/look.py: the dead letter that a handler left as an event, and those that strangers have written."""

import hashlib
import time

import pytest

from evbus_like.engine import dead_letter_headers
from evbus_like.engine.receiving.look import found
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription

SHIP = Subscription("orders", ("placed",), "shipping", "ship", prefetch=1)


def letter(headers, **facts):
    event = ReceivedEvent(b"body", **{"routing_key": "dead.queue", "id": "event-1", "headers": headers, **facts})
    return found(event, SHIP, "token", died=7.0)


def test_a_letter_says_why_when_and_after_how_many_attempts_and_has_the_event_s_own_headers():
    begun = time.time()
    event = ReceivedEvent(b"body", "placed", "orders", "event-1", {"shop": "main"}, timestamp=5.0, attempt=3, key="k")
    why = dead_letter_headers.unhandled(event, "evt-orders-shipping.ship", "given up after 3 attempts")
    made = letter({**event.headers, **why}, timestamp=5.0, key="k", content_type="application/json")
    assert (made.name, made.owner, made.id, made.routing_key) == ("event-1", "shipping.ship", "event-1", "placed")
    assert (made.reason, made.attempts, made.put) == ("given up after 3 attempts", 3, 5.0)
    assert begun - 1 <= made.died <= time.time() + 1
    assert made.headers == {"shop": "main"}
    assert (made.key, made.body, made.size, made.content_type) == ("k", b"body", 4, "application/json")
    assert (made.cut, made.token) == ("", "token")


def test_a_letter_that_did_not_fit_says_what_it_lacks():
    assert letter(dead_letter_headers.cut(2, body=(100, 4))).cut == "body 100 -> 4; headers 2"


def test_a_message_of_a_stranger_is_a_letter_with_what_is_known_of_it():
    made = letter({}, id="")
    assert made.name == hashlib.sha256(b"body").hexdigest()[:16]
    assert (made.reason, made.attempts, made.died, made.put) == ("unknown", 0, 7.0, None)
    assert made.routing_key == "dead.queue"


@pytest.mark.parametrize(
    "value",
    ["seven", None, [1], b"\xff", -1, 1e300, "nan", float("inf"), 10**400, {}],
    ids=lambda value: repr(value)[:20],
)
def test_numbers_that_are_none_are_not_believed(value):
    made = letter({dead_letter_headers.AT: value, dead_letter_headers.ATTEMPTS: value})
    assert (made.died, made.attempts) == (7.0, 0)


def test_a_number_may_be_text_as_some_brokers_have_it():
    made = letter({dead_letter_headers.AT: "1700000000.5", dead_letter_headers.ATTEMPTS: "4"})
    assert (made.died, made.attempts) == (1700000000.5, 4)
