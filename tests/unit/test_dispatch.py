"""Events of services: what dispatch puts, and where its event goes in memory, as a dead letter and on the disk."""

import pytest

from evbus_like.engine.errors import BadEvent
from evbus_like.engine.event import MAX_SERVICE, SERVICE_HEADER, Event, check, events_of, service_headers, service_of
from evbus_like.engine.outbox import record, row

HERE = {"internal": {"default": {"routing_key": "here"}}}
CHAIN = ["shop.sell.1", "users.create.2"]


async def test_dispatch_is_a_put_whose_routing_key_is_the_type_and_whose_header_names_the_service(hub, start):
    await start(HERE)
    receipt = await hub.evbus.broker.dispatch("users", "created", {"id": 1}, headers={"a": 1}, confirm="delivered")
    event = await (await hub.ingress.internal.get("here")).get_event()
    assert (event.id, event.routing_key, event.headers) == (receipt.id, "created", {"a": 1, SERVICE_HEADER: "users"})
    assert service_of(event) == "users"
    assert receipt.delivered


async def test_dispatch_nowait_hands_the_same_event_over(hub, start):
    await start(HERE)
    event_id = hub.evbus.broker.dispatch_nowait("users", "created", {"id": 1}, key="k")
    event = await (await hub.ingress.internal.get("here")).get_event()
    assert (event.id, event.key, event.headers) == (event_id, "k", {SERVICE_HEADER: "users"})


async def test_dispatch_goes_to_the_profile_that_it_names(hub, start):
    await start({"internal": {"audit": {"routing_key": "audit"}}})
    await hub.evbus.broker.dispatch("users", "created", 1, "audit", confirm="delivered")
    assert await (await hub.ingress.internal.get("audit")).get() == b"1"


WRONG = [
    (("", "created"), "service is empty"),
    (("users", ""), "event_type is empty"),
    ((None, "created"), "service must be a string, not NoneType"),
    (("users", 7), "event_type must be a string, not int"),
    (("s" * (MAX_SERVICE + 1), "created"), f"service is longer than {MAX_SERVICE} bytes"),
    (("é" * MAX_SERVICE, "created"), f"service is longer than {MAX_SERVICE} bytes"),
    (("\ud800", "created"), "lone surrogate"),
    (("users", "t" * 256), "longer than 255 bytes"),
    (("users", "created", ["a"]), "headers must be a mapping"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=[said for _, said in WRONG])
async def test_a_service_or_a_type_that_cannot_be_one_is_refused_and_said(hub, arguments, said):
    service, event_type, *headers = arguments
    with pytest.raises(BadEvent, match=said):
        await hub.evbus.broker.dispatch(service, event_type, 1, headers=headers[0] if headers else None)
    with pytest.raises(BadEvent, match=said):
        hub.evbus.broker.dispatch_nowait(service, event_type, 1, headers=headers[0] if headers else None)


def test_the_longest_service_fits_with_its_ending_into_255_bytes():
    check("created", "default", service_headers("s" * MAX_SERVICE, "created"), None)
    assert len(events_of("s" * MAX_SERVICE)) == 255


def test_the_service_of_a_received_event_gives_way_to_the_one_that_is_said():
    assert service_headers("shop", "sold", {SERVICE_HEADER: "users", "a": 1}) == {SERVICE_HEADER: "shop", "a": 1}


@pytest.mark.parametrize("value", ["", 7, None, ["users"], "s" * (MAX_SERVICE + 1)], ids=repr)
def test_a_header_that_names_no_service_is_refused_in_put_too(value):
    with pytest.raises(BadEvent, match="names a service"):
        check("created", "default", {SERVICE_HEADER: value}, None)


def test_an_event_without_that_header_is_of_no_service():
    assert service_of(Event("k", b"", "p")) is None
    assert service_of(Event("k", b"", "p", {"a": 1})) is None


def test_a_header_may_be_a_list_of_texts_and_the_caller_may_change_his():
    chain = list(CHAIN)
    check("k", "default", {"nameko.call_id_stack": chain, "none": []}, None)
    event = Event("k", 1, "default", {"chain": chain})
    chain.append("later")
    assert event.headers == {"chain": CHAIN}


@pytest.mark.parametrize("value", [["a", 1], [b"a"], [["a"]], [None], ("a",), {"a"}, ["\ud800"]], ids=ascii)
def test_a_list_of_anything_else_is_refused(value):
    with pytest.raises(BadEvent, match="header 'a'"):
        check("k", "default", {"a": value}, None)


def test_lists_in_headers_come_back_from_the_outbox():
    event = Event("k", b"body", "p", {"chain": CHAIN, SERVICE_HEADER: "users"})
    assert record.unpack(record.pack(event)).headers == event.headers
    packed = row.pack(event)
    assert row.unpack(packed).headers == event.headers
    assert row.is_sound(packed)


async def test_a_dead_letter_is_no_event_of_the_service_any_more(hub, start):
    # Given a destination that takes nothing, and a profile for its dead letters
    async def refuse(*_):
        raise ValueError("no")

    await start(
        {
            "internal": {
                "sick": {"dead_letter": "failed", "routing_key": "sick", "retry": {"attempts": 1, "first": 0.01}},
                "failed": {"routing_key": "failed"},
            }
        }
    )
    (lane,) = [lane for lane in hub.evbus.RUNTIME.bus.lanes if lane.name == "internal:sick"]
    lane.destination.publish_now, lane.destination.publish = None, refuse
    # When an event of a service dies
    await hub.evbus.broker.dispatch("users", "created", 1, "sick")
    letter = await (await hub.ingress.internal.get("failed")).get_event()
    # Then its letter says whose it was, and nobody who listens to the service gets it as an event
    assert letter.headers["evbus-dead-service"] == "users"
    assert service_of(letter) is None
