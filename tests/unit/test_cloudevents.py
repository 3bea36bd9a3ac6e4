"""engine/cloudevents.py: events as CloudEvents, and received CloudEvents, hostile ones among them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evbus_like.engine import cloudevents
from evbus_like.engine.cloudevents import AMQP, KAFKA, CloudEvents
from evbus_like.engine.errors import ProfileError
from evbus_like.engine.event import SERVICE_HEADER, Event
from evbus_like.engine.receiving.received import BadBody, BodilessEvent, ReceivedEvent
from evbus_like.hub import decoding
from evbus_like.hub.profiles import plan
from evbus_like.testing import new_hub

decode = decoding.decoder(new_hub())
JSON = "application/json"
REQUIRED = {"specversion": "1.0", "id": "7", "source": "/shop", "type": "placed"}


def put(headers=None, body=b'{"n":1}', content_type=JSON, key=None, routing_key="placed"):
    made = Event(routing_key, body, "default", headers, key)
    made.content_type, made.timestamp = content_type, 1_700_000_000.25
    return made


def binary(attributes, raw=b'{"n":1}', content_type=JSON, prefix=AMQP[0], kind=ReceivedEvent, **headers):
    given_headers = {**headers, **{prefix + name: value for name, value in attributes.items()}}
    return kind(raw, headers=given_headers, content_type=content_type)


def structured(whole, content_type="application/cloudevents+json"):
    raw = whole if isinstance(whole, bytes) else json.dumps(whole).encode()
    return ReceivedEvent(raw, content_type=content_type)


def test_an_event_has_the_attributes_that_the_specification_requires_and_its_time_and_content_type():
    made = put({SERVICE_HEADER: "orders"})
    assert CloudEvents(KAFKA).attributes(made) == {
        "specversion": "1.0",
        "id": made.id,
        "source": "orders",
        "type": "placed",
        "time": "2023-11-14T22:13:20.250000Z",
        "datacontenttype": JSON,
    }


def test_an_event_of_no_service_is_from_the_service_that_the_settings_name():
    assert CloudEvents(KAFKA, source="my shop").attributes(put())["source"] == "my%20shop"
    assert CloudEvents(KAFKA).attributes(put(routing_key=""))["type"] == "default"


def test_headers_with_the_name_of_an_attribute_are_attributes_and_others_are_none():
    headers = {"tenant": "north", "vip": True, "n": 7, "big": 2**40, "x-y": "a", "Upper": "b", "half": 0.5, "no": None}
    found = CloudEvents(KAFKA).attributes(put({**headers, "source": "/s", "traceparent": "00-a", "nul": "a\0"}))
    own = {name: value for name, value in found.items() if name not in ("id", "time", "datacontenttype")}
    assert own == {
        **{"specversion": "1.0", "source": "/s", "type": "placed", "traceparent": "00-a"},
        **{"tenant": "north", "vip": True, "n": 7, "big": str(2**40)},
    }


def test_a_key_is_the_subject_and_the_key_of_the_partition_unless_a_header_says_otherwise():
    found = CloudEvents(KAFKA).attributes(put({"subject": "s"}, key="k"))
    assert (found["subject"], found["partitionkey"]) == ("s", "k")
    assert CloudEvents(KAFKA).attributes(put(key=b"\xff"))["partitionkey"] == b"\xff"
    assert CloudEvents(KAFKA).attributes(put(key="k"))["subject"] == "k"


def test_in_binary_mode_the_body_stays_and_the_headers_have_the_binding_s_prefix():
    made = CloudEvents(AMQP[0]).converted(put({"vip": True}))
    assert (made.body, made.content_type) == (b'{"n":1}', JSON)
    assert made.headers["cloudEvents_vip"] is made.headers["vip"] is True
    assert "cloudEvents_datacontenttype" not in made.headers
    kafka = CloudEvents(KAFKA).converted(put({"vip": True, "raw": b"\xff"}))
    assert (kafka.headers["ce_vip"], kafka.headers["ce_raw"]) == ("true", "/w==")


@pytest.mark.parametrize(
    ("body", "content_type", "member"),
    [
        (b'{"n":1}', JSON, {"data": {"n": 1}}),
        (b"null", "application/vnd.shop+json; charset=utf-8", {"data": None}),
        ('é"'.encode(), "text/plain", {"data": 'é"'}),
        (b"\xff", "text/plain", {"data_base64": "/w=="}),
        (b"\x81", "application/msgpack", {"data_base64": "gQ=="}),
        (b"", "", {"data_base64": ""}),
    ],
)
def test_in_structured_mode_the_body_is_the_data_of_an_object(body, content_type, member):
    made = CloudEvents(KAFKA, structured=True).converted(put(body=body, content_type=content_type))
    whole = json.loads(made.body)
    assert made.content_type == "application/cloudevents+json"
    assert {name: whole[name] for name in whole if name.startswith("data") and name != "datacontenttype"} == member


@pytest.mark.parametrize("prefix", [*AMQP, KAFKA])
def test_the_attributes_of_a_received_event_are_read_whatever_the_prefix(prefix):
    event = binary({**REQUIRED, "tenant": "north", "TIME": "2026-01-31T12:00:00Z"}, prefix=prefix, other="x")
    assert decode(event) == {"n": 1}
    assert event.cloudevent == {
        **REQUIRED,
        **{"tenant": "north", "time": "2026-01-31T12:00:00Z", "datacontenttype": JSON},
    }
    assert (event.id, event.timestamp) == ("7", 1769860800.0)


def test_other_events_have_no_attributes():
    for event in (ReceivedEvent(b"1", content_type=JSON), binary({"id": "7"}, b"1")):
        assert (decode(event), event.cloudevent) == (1, None)


@pytest.mark.parametrize(
    ("member", "body"),
    [
        ({"data": {"n": 1}}, {"n": 1}),
        ({"data": "text", "datacontenttype": "text/xml"}, "text"),
        ({"data_base64": "gaFuAQ==", "datacontenttype": "application/msgpack"}, {"n": 1}),
        ({"data_base64": "/w==", "datacontenttype": "image/png"}, b"\xff"),
        ({"data": None}, None),
        ({}, None),
    ],
)
def test_the_body_of_a_structured_event_is_its_data(member, body):
    event = structured({**REQUIRED, **member, "subject": None}, "Application/CloudEvents+JSON; charset=UTF-8")
    assert decode(event) == body
    assert event.cloudevent["id"] == "7"
    assert "subject" not in event.cloudevent


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"specversion": "0.3"}, "specversion is not 1.0"),
        ({"id": ""}, "id must be text"),
        ({"source": 7}, "source must be text"),
        ({"type": "a\x00b"}, "type must be text"),
        ({"time": "yesterday"}, "time must be a time"),
        ({"time": "2026-13-31T12:00:00Z"}, "time must be a time"),
        ({"time": 10**18}, "time is out of range"),
        ({"subject": ""}, "subject must be text"),
        ({"tenant": ["a"]}, "attribute 'tenant' is a list"),
        ({"tenant": {"a": 1}}, "attribute 'tenant' is a dict"),
        ({f"a{number}": "x" for number in range(200)}, "attributes; at most 100"),
    ],
)
def test_a_wrong_attribute_makes_an_event_unreadable_in_either_mode(wrong, reason):
    for event in (binary({**REQUIRED, **wrong}), structured({**REQUIRED, **wrong})):
        with pytest.raises(BadBody, match=reason):
            decode(event)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"[]", "is an object"),
        (b"7", "is an object"),
        (b'{"specversion": "1.0"', "JSONDecodeError"),
        (b"{}", "specversion is not 1.0"),
        (json.dumps({**REQUIRED, "data": 1, "data_base64": "gQ=="}).encode(), "either data"),
        (json.dumps({**REQUIRED, "data_base64": 7}).encode(), "either data"),
        (json.dumps({**REQUIRED, "data_base64": "%%%"}).encode(), "Error"),
        (b"[" * 100_000, "Error"),
    ],
)
def test_what_is_no_structured_event_is_unreadable(raw, reason):
    with pytest.raises(BadBody, match=reason):
        decode(structured(raw))


def test_formats_that_are_not_accepted_are_not_decoded_inside_of_a_cloudevent():
    only_json = decoding.decoder(new_hub(), ("json",))
    whole = {**REQUIRED, "data_base64": "gaFuAQ==", "datacontenttype": "application/msgpack"}
    with pytest.raises(BadBody, match="msgpack is not accepted"):
        only_json(structured(whole))
    with pytest.raises(BadBody, match="json is not accepted"):
        decoding.decoder(new_hub(), ("msgpack",))(structured(REQUIRED))


def test_a_tombstone_has_attributes_and_no_body():
    event = binary(REQUIRED, b"", "", KAFKA, BodilessEvent)
    assert (decode(event), event.cloudevent["id"]) == (None, "7")


def test_the_trace_of_a_cloudevent_is_a_header():
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    event = structured({**REQUIRED, "traceparent": trace})
    decode(event)
    assert event.headers["traceparent"] == trace
    headers = {f"ce_{name}": value for name, value in {**REQUIRED, "traceparent": trace}.items()}
    assert cloudevents.with_trace(headers)["traceparent"] == trace


@pytest.mark.parametrize("raw", [b"", b"{", b"[" * 100_000, b'{"x":' * 100_000, b"\xff", b'{"id": 7}', b"null", b"7"])
def test_the_type_of_anything_can_be_looked_at_before_it_is_decoded(raw):
    assert cloudevents.peeked({}, "application/cloudevents+json", raw) == {}


def test_id_and_type_are_known_before_the_body_is_decoded():
    raw = json.dumps({**REQUIRED, "data": {"type": "inner"}}).encode()
    assert cloudevents.peeked({}, "application/cloudevents+json; charset=utf-8", raw) == {"id": "7", "type": "placed"}
    assert cloudevents.peeked({"ce_specversion": "1.0", "ce_id": "x" * 300, "ce_type": "t"}, "", b"") == {"type": "t"}
    assert cloudevents.peeked({}, JSON, raw) == {}


def test_wrong_options_and_wrong_attributes_are_refused():
    with pytest.raises(ProfileError, match="format must be cloudevents or"):
        CloudEvents.of({"format": "cloud"}, KAFKA)
    with pytest.raises(ProfileError, match="tombstones"):
        CloudEvents.of({"format": "cloudevents-structured", "tombstones": True}, KAFKA)
    assert CloudEvents.of({}, KAFKA) is None
    assert "'time'" in CloudEvents(KAFKA).refusal(put({"time": "noon"}))
    assert "'type'" in CloudEvents(KAFKA).refusal(put({"type": 7}))
    assert CloudEvents(KAFKA).refusal(put({"time": "2026-01-31T12:00:00+01:00", "x": 1})) is None


@pytest.mark.parametrize("provider", ["amqp", "kafka"])
def test_a_profile_of_cloudevents_refuses_headers_that_cannot_be_attributes_and_bodies_that_would_not_fit(provider):
    usual, made, whole = (
        planned(provider, {}),
        planned(provider, {"format": "cloudevents"}),
        planned(provider, {"format": "cloudevents-structured"}),
    )
    assert set(made.options.reserved_headers) - set(usual.options.reserved_headers) == set(cloudevents.RESERVED)
    assert made.options.max_event_bytes == usual.options.max_event_bytes
    assert whole.options.max_event_bytes < usual.options.max_event_bytes * 3 // 4
    assert "'time'" in made.destination.asks.refuse(put({"time": "noon"}))
    assert usual.destination.asks is None or usual.destination.asks.refuse(put({"time": "noon"})) is None


def planned(provider, options):
    (found,) = plan.plan(new_hub(), {provider: {"default": options}})
    assert found.problem == ""
    return found


@pytest.mark.parametrize(
    ("provider", "options", "problem"),
    [
        ("amqp", {"format": "cloud"}, "format must be cloudevents or"),
        ("kafka", {"format": "cloud"}, "format must be cloudevents or"),
        ("amqp", {"format": "cloudevents", "cloudevents_prefix": "ce_"}, "cloudevents_prefix must be cloudEvents_ or"),
        ("kafka", {"format": "cloudevents-structured", "tombstones": True}, "tombstones have no body"),
        ("internal", {"format": "cloudevents"}, "no option format"),
    ],
)
def test_a_wrong_option_is_a_problem_of_its_profile(provider, options, problem):
    (found,) = plan.plan(new_hub(), {provider: {"default": options}})
    assert problem in found.problem


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = text | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.binary(max_size=9) | st.none() | st.floats()
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3))
names = st.sampled_from([*REQUIRED, "time", "subject", "data", "dataschema"]) | st.from_regex("[a-z0-9]{1,20}")


@given(st.dictionaries(names, scalars, max_size=8), st.none() | text, st.text("a.b é\n", max_size=12))
def test_whatever_is_put_becomes_a_valid_cloudevent_in_both_modes(headers, key, routing_key):
    made = put(headers, key=key, routing_key=routing_key)
    for prefix in (KAFKA, AMQP[0]):
        out = CloudEvents(prefix).converted(made)
        event = ReceivedEvent(out.body, headers=out.headers, content_type=out.content_type)
        whole = CloudEvents(prefix, structured=True).converted(made)
        other = ReceivedEvent(whole.body, content_type=whole.content_type)
        assert decode(event) == decode(other) == {"n": 1}
        assert event.cloudevent["id"] == other.cloudevent["id"] == made.id
        assert set(event.cloudevent) == set(other.cloudevent)


@given(st.dictionaries(names | text, anything, max_size=8), st.sampled_from(["", JSON]))
def test_whatever_attributes_arrive_an_event_is_decoded_or_unreadable(attributes, content_type):
    for event in (
        binary(attributes, content_type=content_type),
        structured(json.dumps({**REQUIRED, **attributes}, default=repr).encode()),
    ):
        try:
            decode(event)
        except BadBody:
            continue
        assert event.cloudevent is None or cloudevents.checked(dict(event.cloudevent)) == event.cloudevent
