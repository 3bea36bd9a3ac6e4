"""kafka/refusals.py: why a profile's topics do not take an event, as far as Kafka has said what they take."""

from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evbus_like.engine.event import SERVICE_HEADER, Event
from evbus_like.kafka import internals, topics
from evbus_like.kafka.plan import Planner
from evbus_like.kafka.refusals import Refusals
from evbus_like.kafka.topics import Rules


def event(routing_key="k", body=b"{}", headers=None, key=None):
    made = Event(routing_key, body, "p", headers, key)
    made.content_type = "application/json"
    return made


class Profile:
    """The refusals of a profile whose topics have these rules, and what it last told the bus."""

    def __init__(self, rules=None, tombstones=frozenset(), **acct):
        self.planner = Planner(acct, tombstones)
        self.told = []
        self.refusals = Refusals(self.planner, lambda refuse, above: self.told.append(above), acct)
        self.learn(rules or {})

    def learn(self, rules, age=0.0):
        self.planner.rules._known.update({topic: (each, monotonic() - age) for topic, each in rules.items()})
        self.planner.rules.learnt()

    def refuse(self, *args, **options):
        return self.refusals.refuse(event(*args, **options))


def test_a_compacted_topic_needs_a_key_or_a_routing_key():
    profile = Profile({"t": Rules(needs_key=True)}, topics=["t"])
    assert "topic 't' is compacted: its events need a key" in profile.refuse("")
    assert profile.refuse("", key="k") is profile.refuse("k") is None
    assert Profile({"t": Rules(needs_key=True)}, topics=["t"], key="fixed").refuse("") is None


def test_a_record_larger_than_its_topic_takes_is_refused_with_both_sizes():
    profile = Profile({"t": Rules(max_bytes=20_000)}, topics=["t"])
    assert profile.refuse("k", b"x" * 19_000) is None
    assert "is 20" in profile.refuse("k", b"x" * 20_000)
    assert "max.message.bytes of topic 't' is 20000" in profile.refuse("k", b"x" * 20_000)
    assert "is 2" in profile.refuse("k", b"x" * 10_000, headers={"a": "x" * 10_000})
    assert (
        Profile({"t": Rules(max_bytes=20_000)}, topics=["t"], connection={"compression_type": "gzip"}).refuse(
            "k", b"x" * 90_000
        )
        is None
    )


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "x" * 250, "é"])
def test_a_routing_key_that_cannot_be_a_topic_is_refused_unless_the_profile_names_topics(name):
    assert "is not a valid Kafka topic name" in Profile().refuse(name)
    assert Profile(topics=["t"]).refuse(name) is None


def test_the_topic_of_a_service_s_event_is_the_service_s():
    profile = Profile({"shop.events": Rules(max_bytes=1000)})
    assert "topic 'shop.events'" in profile.refuse("sold", b"x" * 1000, headers={SERVICE_HEADER: "shop"})
    assert "'a b.events' is not a valid" in profile.refuse("sold", headers={SERVICE_HEADER: "a b"})


def test_a_tombstone_without_a_key_is_refused():
    profile = Profile(topics=["t"], tombstones=frozenset({("application/json", b"null")}))
    assert "a tombstone deletes what has its key" in profile.refuse("", b"null")
    assert profile.refuse("k", b"null") is profile.refuse("", b"1") is None


def test_the_bus_need_not_ask_about_small_events_for_topics_with_the_limits_that_kafka_has_by_default():
    profile = Profile({"t": Rules(max_bytes=1_048_588)}, topics=["t"])
    assert profile.told[-1] > 1_000_000
    profile.learn({"t": Rules(max_bytes=20_000)})
    assert 10_000 < profile.told[-1] < 20_000
    profile.learn({"t": Rules(needs_key=True)})
    assert profile.told[-1] == -1


def test_what_kafka_said_long_ago_refuses_no_event():
    profile = Profile(topics=["t"])
    profile.learn({"t": Rules(needs_key=True)}, age=topics.KEPT + 1)
    assert profile.refuse("") is None


def test_what_was_taken_is_refused_once_its_topic_has_another_limit():
    profile = Profile({"k": Rules(max_bytes=20_000)})
    assert profile.refuse("k", b"x" * 5000) is profile.refuse("k", b"x" * 5000) is None
    profile.learn({"k": Rules(max_bytes=1000)})
    assert "max.message.bytes" in profile.refuse("k", b"x" * 5000)


HEADERS = st.none() | st.dictionaries(st.text("abé", min_size=1, max_size=20), st.text(max_size=300), max_size=5)


@given(
    st.binary(max_size=2000), st.text(st.characters(codec="utf-8"), max_size=60),
    HEADERS, st.none() | st.binary(max_size=300),
)  # fmt: skip
def test_an_event_is_refused_for_its_size_exactly_if_its_batch_would_be_too_large(body, routing_key, headers, key):
    made = event(routing_key, body, headers, key)
    planner = Planner({})
    record = planner.key_of(made), body, planner.record(made)[0]
    builder = internals.BatchBuilder(1, 0)
    builder.append(timestamp=1, key=record[0], value=record[1], headers=record[2])
    assert internals.record_size(*record) == builder.size()
    for limit, fits in ((builder.size(), True), (builder.size() - 1, False)):
        profile = Profile({"t": Rules(max_bytes=limit)}, topics=["t"])
        above = profile.told[-1]
        assert (profile.refusals.refuse(made) is None) == fits
        asked = len(body) > above or made.headers is not None or (key is not None and len(key) > 255)
        assert fits or asked, "it would be accepted without asking"
