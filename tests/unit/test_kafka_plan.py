"""kafka/plan.py: the topics, keys and headers of events of services."""

from types import SimpleNamespace

import pytest

from evbus_like.engine.event import SERVICE_HEADER, Event
from evbus_like.kafka.plan import ID_HEADER, TYPE_HEADER, Planner
from tests.unit.test_kafka_leaders import Client


def of(service, event_type="created", headers=None, **options):
    made = Event(event_type, b"{}", "p", {SERVICE_HEADER: service, **(headers or {})}, **options)
    made.content_type = "application/json"
    return made


class Recording(Client):
    """Makes batches that remember what is appended to them: (key, headers)."""

    def create_batch(self):
        records = []

        def append(*, timestamp, key, value, headers):
            records.append((key, headers))
            return records

        return SimpleNamespace(append=append, records=records)


def lay_out(events, acct=None, topics=("users.events", "shop.events", "created")):
    """The records that events become: (topic, key, headers)."""
    client = Recording(**{name: [1] for name in topics})
    layout = Planner(acct or {}).lay_out(client, events, {name: [0] for name in topics})
    batches = [batch for stack in layout.batches.values() for batch in stack.batches]
    return [(batch.topic, *record) for batch in batches for record in batch.builder.records]


def test_an_event_of_a_service_goes_to_its_topic_with_its_type_as_key_and_in_a_header():
    ((topic, key, headers),) = lay_out([of("users")])
    assert (topic, key) == ("users.events", b"created")
    assert (TYPE_HEADER, b"created") in headers
    assert (SERVICE_HEADER, b"users") in headers


def test_equal_types_and_keys_of_two_services_and_of_none_go_to_three_topics():
    layout = lay_out([of("users"), of("shop"), Event("created", b"", "p"), Event("created", b"", "p", {"a": 1})])
    assert [topic for topic, _, _ in layout] == ["users.events", "shop.events", "created", "created"]


def test_the_event_s_own_key_goes_before_its_type():
    ((_, key, _),) = lay_out([of("users", key="u-7")])
    assert key == b"u-7"


def test_the_topics_of_the_profile_go_before_the_service_s():
    layout = lay_out([of("users")], {"topics": ["all"]}, topics=["all"])
    assert [topic for topic, _, _ in layout] == ["all"]


@pytest.mark.parametrize("headers", [None, {"tenant": "blue"}])
def test_an_ordinary_event_has_no_header_for_its_routing_key(headers):
    event = Event("created", b"", "p", headers)
    ((_, _, found),) = lay_out([event])
    assert [name for name, _ in found] == [ID_HEADER, "content-type", *(headers or {})]


def test_a_list_repeats_its_header():
    ((_, _, headers),) = lay_out([of("users", headers={"nameko.call_id_stack": ["a.b.1", "c.d.2"], "none": []})])
    assert [value for name, value in headers if name == "nameko.call_id_stack"] == [b"a.b.1", b"c.d.2"]
    assert "none" not in dict(headers)
