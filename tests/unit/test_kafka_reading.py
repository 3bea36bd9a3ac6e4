"""Kafka as a source, without a broker: types of events, names, places to begin at, settings, errors."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from aiokafka import errors as kafka

from evbus_like.engine.errors import DestinationRefused, HandlerError, ProfileError, TransientError
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.kafka import failures, topics
from evbus_like.kafka import since as beginnings
from evbus_like.kafka.dead_letters import topic_name
from evbus_like.kafka.offsets import Partition
from evbus_like.kafka.records import MOST_TYPES, Reader
from evbus_like.kafka.settings import settings
from evbus_like.testing import new_hub


def record(key=b"k", value=b"{}", headers=(), timestamp=1500, topic="orders.events", offset=7):
    fields = {"key": key, "value": value, "headers": headers, "timestamp": timestamp, "topic": topic}
    return SimpleNamespace(partition=3, offset=offset, **fields)


def read(*types, **fields):
    return Reader(Subscription("orders", types or ("#",), "shipping", "ship")).event(record(**fields), Partition())


@pytest.mark.parametrize(
    ("headers", "key", "expected"),
    [
        ([("evbus-routing-key", b"created")], b"customer-7", "created"),
        ([], b"created", "created"),
        ([], None, "orders.events"),
        ([], b"", "orders.events"),
        ([], b"\xff\xfe", "orders.events"),
        ([("evbus-routing-key", b"\xff")], b"created", "created"),
        ([("evbus-routing-key", None)], b"created", "created"),
    ],
)
def test_the_type_is_the_header_then_the_key_then_the_topic(headers, key, expected):
    assert read(headers=headers, key=key).routing_key == expected


def test_types_and_ids_that_are_too_long_to_remember_are_none():
    long = b"x" * 256
    headers = [("evbus-routing-key", long), ("evbus-id", long), ("content-type", long), ("content-type", long)]
    event = read(headers=headers, key=long)
    assert (event.routing_key, event.id, event.content_type) == ("orders.events", "", "")
    assert event.headers["evbus-id"] == long.decode()
    assert read(key=long[1:]).routing_key == long[1:].decode()


def test_a_record_of_another_type_makes_no_event():
    assert read("created", key=b"deleted") is None
    assert read("user.*", key=b"user.created.twice") is None
    assert read("user.*", key=b"user.created").routing_key == "user.created"


def test_a_record_that_was_replayed_for_one_handler_is_an_event_for_no_other():
    headers = [("evbus-only", b"evt-orders-#--shipping.ship"), ("own", b"1")]
    assert read(headers=headers).headers == {"own": "1"}
    assert read("created", headers=headers) is None
    assert read(headers=[("evbus-only", b"evt-orders-#--shipping.audit")]) is None
    assert read(headers=[("evbus-only", None)]) is not None


def test_as_many_types_as_there_are_keys_do_not_fill_the_memory():
    reader = Reader(Subscription("orders", ("created",), "shipping", "ship"))
    for number in range(MOST_TYPES + 10):
        reader.event(record(key=b"%d" % number), Partition())
    assert len(reader._wants.__closure__[0].cell_contents) <= MOST_TYPES


def test_id_and_content_type_are_the_events_and_other_headers_are_text_where_they_can_be():
    headers = [
        ("evbus-id", b"e-1"),
        ("content-type", b"text/plain"),
        ("tenant", b"blue"),
        ("raw", b"\xff"),
        ("no", None),
    ]
    event = read(headers=headers, value=b"hello")
    assert (event.id, event.content_type, event.raw, event.service) == ("e-1", "text/plain", b"hello", "orders")
    assert event.headers == {"tenant": "blue", "raw": b"\xff", "no": None}
    assert event.timestamp == 1.5


def test_a_record_without_anything_is_an_event_all_the_same():
    event = read(key=None, value=None, timestamp=-1)
    assert (event.raw, event.id, event.content_type, event.timestamp) == (b"", "", "", 0.0)


def test_events_of_one_key_have_an_order_and_those_without_a_key_have_none():
    assert read(key=b"a").order == read(key=b"a", offset=8).order
    assert read(key=b"a").order != read(key=b"b").order
    assert read(key=b"").order is not None
    assert read(key=None).order is None


@pytest.mark.parametrize(
    ("queue", "topic"),
    [
        ("evt-orders-created--shipping.ship.dead", "evt-orders-created--shipping.ship.dead"),
        ("evt-orders-user.*+a.#--shipping.ship.dead", "evt-orders-user.--a.---shipping.ship.dead"),
        ("evt-größe.dead", "evt-gr--e.dead"),
    ],
)
def test_the_topic_of_dead_letters_has_the_queues_name_with_what_kafka_allows(queue, topic):
    assert topic_name(queue) == topic
    assert topics.TOPIC_NAME.fullmatch(topic)


def test_the_topics_of_dead_letters_of_two_long_queues_differ():
    names = {topic_name("q" * 300 + end) for end in ("a", "b")}
    assert len(names) == 2
    assert all(topics.TOPIC_NAME.fullmatch(name) and len(name) == 249 for name in names)


class Log:
    """Partitions as a consumer would look them up: {place: (first offset, end, {milliseconds: offset})}."""

    def __init__(self, **places):
        self.places = places

    async def beginning_offsets(self, places):
        return {place: self.places[place][0] for place in places}

    async def end_offsets(self, places):
        return {place: self.places[place][1] for place in places}

    async def offsets_for_times(self, wanted):
        found = {}
        for place, time in wanted.items():
            later = [offset for at, offset in self.places[place][2].items() if at >= time]
            found[place] = SimpleNamespace(offset=min(later)) if later else None
        return found


LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (None, 9),
        ("latest", 9),
        ("earliest", 2),
        (5, 5),
        (0, 2),
        (100, 9),
        (3.0, 6),
        (LONG_AGO, 9),
        (datetime.now(UTC) + timedelta(days=1), 9),
    ],
)
async def test_a_group_begins_where_since_says(since, expected):
    log = Log(p=(2, 9, {1000: 2, 3000: 6, 4000: 7}))
    assert await beginnings.offsets(log, ["p"], since) == {"p": expected}


async def test_nothing_is_looked_up_for_no_partitions():
    assert await beginnings.offsets(None, [], "latest") == {}


@pytest.mark.parametrize("since", ["yesterday", -1, True, [1], {"p": 1}])
def test_a_since_that_says_nothing_is_refused(since):
    assert repr(since) in beginnings.problem(since)


def test_only_what_a_consumer_shares_is_taken_from_the_connection():
    connection = {"bootstrap_servers": "k:1", "acks": 1, "linger_ms": 5, "client_id": "me", "metadata_max_age_ms": 9}
    made = settings({"connection": connection, "topics": "orders"})
    assert made.topics == ("orders",)
    assert dict(made.connection) == {
        "bootstrap_servers": "k:1",
        "client_id": "me",
        "metadata_max_age_ms": 9,
        "security_protocol": "PLAINTEXT",
    }


def test_a_static_member_has_an_id_of_its_own_on_each_machine_and_in_each_worker(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "node-7")
    made = settings({"group_instance_id": "shop.{host}", "client_rack": "eu-1a"}, worker=3)
    assert made.consumer("group", static=True)["group_instance_id"] == "shop.node-7-3"
    assert made.consumer("group", static=True)["client_rack"] == "eu-1a"
    assert settings({"group_instance_id": "shop"}).consumer("group", static=True)["group_instance_id"] == "shop"


def test_only_reliable_members_of_a_group_are_static():
    made = settings({"group_instance_id": "shop"})
    assert made.consumer(None, static=True)["group_instance_id"] is None
    assert made.consumer("group", static=False)["group_instance_id"] is None
    assert settings({}).consumer("group", static=True)["group_instance_id"] is None


@pytest.mark.parametrize("name", ["a b", "x" * 250, "{worker}", "ü", "a\n"])
def test_a_group_instance_id_that_kafka_might_not_take_is_an_error_of_the_profile(name):
    with pytest.raises(ProfileError, match="group_instance_id makes"):
        settings({"group_instance_id": name})


@pytest.mark.parametrize("timeout", [3.0, 30.0, 300.0])
def test_who_joins_waits_longer_than_a_rebalance_waits_for_handlers(timeout):
    made = settings({"timeout": timeout})
    assert made.drain < made.timeout
    assert made.drain < made.rebalance
    assert made.consumer("group")["request_timeout_ms"] > made.rebalance * 1000


@pytest.mark.parametrize(
    "error",
    [
        kafka.GroupAuthorizationFailedError("g"),
        kafka.TopicAuthorizationFailedError("t"),
        kafka.SaslAuthenticationFailed(),
    ],
)
def test_missing_rights_refuse(error):
    assert isinstance(failures.receiving(error, "k:1"), DestinationRefused)


@pytest.mark.parametrize(
    "error", [kafka.RequestTimedOutError(), kafka.CorruptRecordException(), TimeoutError(), OSError("x")]
)
def test_anything_else_can_be_tried_again(error):
    kind = failures.receiving(error, "k:1")
    assert type(kind) is TransientError
    assert "Kafka at k:1" in str(kind)


def plugin(data):
    return SimpleNamespace(acct=data, profile="default"), new_hub().egress.kafka


def test_a_service_whose_name_makes_no_topic_needs_topics_in_the_profile():
    ctx, kafka_plugin = plugin({})
    with pytest.raises(HandlerError, match=r"'my orders\.events' cannot be the name of a Kafka topic"):
        kafka_plugin.check(ctx, Subscription("my orders", ("a",), "b", "c"))
    ctx.acct["topics"] = ["orders"]
    kafka_plugin.check(ctx, Subscription("my orders", ("a",), "b", "c"))


def test_a_wrong_since_is_an_error_of_the_handler():
    ctx, kafka_plugin = plugin({})
    with pytest.raises(HandlerError, match="'monday'"):
        kafka_plugin.check(ctx, Subscription("orders", ("a",), "b", "c", since="monday"))


def test_a_profile_that_makes_no_connection_is_refused():
    ctx, kafka_plugin = plugin({"connection": {"security_protocol": "TLS"}})
    with pytest.raises(ProfileError):
        kafka_plugin.validate(ctx)
    ctx, kafka_plugin = plugin({"session_timeout": 0.1})
    with pytest.raises(ProfileError, match="session_timeout"):
        kafka_plugin.validate(ctx)
