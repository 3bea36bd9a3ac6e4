"""kafka/leaders.py, plan.py and producer.py: partitions without a leader, and answers that do not come in time."""

import asyncio
from types import SimpleNamespace
from typing import Any

import aiokafka.errors as kafka
import pytest
from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaConnectionError, for_code
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import PartitionMetadata

from evbus_like.engine.errors import DestinationRefused, Stalled, TransientError, UnknownOutcome
from evbus_like.engine.event import Event
from evbus_like.kafka import leaders
from evbus_like.kafka import producer as producers
from evbus_like.kafka.leaders import NoLeader
from evbus_like.kafka.plan import Planner
from evbus_like.kafka.producer import Producer
from evbus_like.kafka.topics import Rules
from evbus_like.testing import eventually

NOBODY = -1
FIRST, SECOND = "a", "d"  # keys that Kafka's partitioner sends to partition 0 and 1 of two


def cluster_of(**topics: list[int]) -> ClusterMetadata:
    """Make metadata of topics, each given by the leaders of its partitions."""
    cluster = ClusterMetadata()
    for topic, ids in topics.items():
        cluster._partitions[topic] = {
            number: PartitionMetadata(topic, number, leader, [], [], 0) for number, leader in enumerate(ids)
        }
    return cluster


class Client:
    """What is needed of an aiokafka producer and its client; `silent` partitions never confirm."""

    def __init__(self, silent: tuple[int, ...] = (), **topics: list[int]) -> None:
        self.cluster = cluster_of(**topics)
        self.client = self
        self.silent = silent
        self.elected: dict[str, list[int]] = {}  # what the next question for metadata will tell
        self.asked = 0
        self.sent: list[tuple[str, int, int]] = []
        self.answers: list[asyncio.Future[Any]] = []
        self.stopped = False
        self._sender = SimpleNamespace(sender_task=None)
        self._md_update_fut = None

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(500, 0, is_transactional=False)

    async def partitions_for(self, topic: str) -> Any:
        return self.cluster.partitions_for_topic(topic)

    async def send_batch(self, builder: BatchBuilder, topic: str, partition: int) -> Any:
        self.sent.append((topic, partition, builder.record_count()))
        future = asyncio.get_running_loop().create_future()
        if partition not in self.silent:
            future.set_result(SimpleNamespace(offset=0))
        self.answers.append(future)
        return future

    async def force_metadata_update(self) -> None:
        self.asked += 1
        self.cluster._partitions.update(cluster_of(**self.elected)._partitions)

    async def stop(self) -> None:
        self.stopped = True

    async def close(self) -> None:
        self.stopped = True


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the producer wait for answers for a moment only."""
    monkeypatch.setattr(producers, "STALL", 0.01)
    monkeypatch.setattr(producers, "STALL_BESIDE", 0.01)


def producer_at(client: Client, topics: str | list[str], **acct: Any) -> Producer:
    """Make a producer that is connected to `client`."""
    producer = Producer({"topics": topics, **acct})
    producer._producer = client
    return producer


def events_for(*keys: str) -> list[Event]:
    return [Event(key, b"body", "default") for key in keys]


async def test_only_the_events_of_a_partition_without_a_leader_are_held() -> None:
    client = Client(orders=[1, NOBODY])
    outcomes = await producer_at(client, "orders").publish(events_for(SECOND, FIRST, SECOND, FIRST))
    assert outcomes is not None
    assert [type(outcome) for outcome in outcomes] == [NoLeader, type(None), NoLeader, type(None)]
    assert "partition 1 of topic 'orders' has no leader" in str(outcomes[0])
    assert client.sent == [("orders", 0, 2)]
    assert not client.stopped  # nothing is lost, so the producer's numbers are still right


async def test_a_leader_that_is_found_at_once_costs_no_try() -> None:
    client = Client(orders=[1, NOBODY])
    client.elected = {"orders": [1, 2]}
    assert await producer_at(client, "orders").publish(events_for(SECOND, FIRST)) is None
    assert client.asked == 1


async def test_a_leader_that_stays_away_is_asked_for_once_a_try() -> None:
    client = Client(orders=[1, NOBODY])
    producer = producer_at(client, "orders")
    await producer.publish(events_for(SECOND))
    before = client.asked
    await producer.publish(events_for(SECOND))
    assert before == len(leaders.PAUSES)
    assert client.asked == before + 1


async def test_with_leaders_nothing_is_asked() -> None:
    client = Client(orders=[1, 2])
    assert await producer_at(client, "orders").publish(events_for(SECOND, FIRST)) is None
    assert client.asked == 0


async def test_an_event_for_two_topics_goes_to_none_while_one_of_them_has_no_leader_for_it() -> None:
    client = Client(orders=[1], copies=[NOBODY])
    outcomes = await producer_at(client, ["orders", "copies"]).publish(events_for("a"))
    assert outcomes is not None
    assert isinstance(outcomes[0], NoLeader)
    assert client.sent == []


async def test_events_without_a_key_avoid_partitions_without_a_leader() -> None:
    client = Client(orders=[NOBODY, 1, NOBODY])
    producer = producer_at(client, "orders")
    for _ in range(20):
        assert await producer.publish(events_for("")) is None
    assert {partition for _, partition, _ in client.sent} == {1}


async def test_an_answer_that_does_not_come_in_time_is_unknown_and_those_that_came_count() -> None:
    client = Client(silent=(1,), orders=[1, 1])
    client._sender.sender_task = asyncio.create_task(asyncio.sleep(60.0))
    producer = producer_at(client, "orders", timeout=0.2)
    async with asyncio.timeout(0.2):  # as the lane has it
        outcomes = await producer.publish(events_for(SECOND, FIRST, SECOND))
    assert outcomes is not None
    assert [type(outcome) for outcome in outcomes] == [UnknownOutcome, type(None), UnknownOutcome]
    assert "partition 1 of topic 'orders'" in str(outcomes[0])
    # And the producer that still has the records sends no more of them behind the back of the next one
    await asyncio.wait([client._sender.sender_task], timeout=10.0)
    assert client._sender.sender_task.cancelled()
    await producer.close()
    assert client.stopped


async def test_a_partition_that_does_not_answer_keeps_its_own_events_only(impatient: None) -> None:
    client = Client(silent=(1,), orders=[1, 2])
    producer = producer_at(client, "orders")
    events = events_for(SECOND, FIRST)
    outcomes = await producer.publish(events)
    assert outcomes is not None
    assert [type(outcome) for outcome in outcomes] == [Stalled, type(None)]
    assert "partition 1 of topic 'orders' is not confirmed" in str(outcomes[0])
    # When the lane gives it the event again, with later ones of both partitions
    more = [events[0], *events_for(SECOND, FIRST)]
    outcomes = await producer.publish(more)
    # Then it is not sent again, and none overtakes it
    assert outcomes is not None
    assert [type(outcome) for outcome in outcomes] == [Stalled, Stalled, type(None)]
    assert client.sent == [("orders", 1, 1), ("orders", 0, 1), ("orders", 0, 1)]
    # And once it is confirmed, the next ones go
    client.silent = ()
    client.answers[0].set_result(SimpleNamespace(offset=7))
    outcomes = await producer.publish(more[:2])
    assert outcomes is None or not any(isinstance(outcome, Exception) for outcome in outcomes)
    assert client.sent[3:] == [("orders", 1, 1)]
    assert not client.stopped


async def test_an_answer_that_comes_later_has_its_offset(impatient: None) -> None:
    client = Client(silent=(1,), orders=[1, 2])
    producer = producer_at(client, "orders")
    events = events_for(SECOND, SECOND)
    await producer.publish(events)
    client.answers[0].set_result(SimpleNamespace(offset=7))
    outcomes = await producer.publish(events)
    assert outcomes == [{"topic": "orders", "partition": 1, "offset": offset} for offset in (7, 8)]


async def test_an_answer_that_was_long_awaited_is_taken_up_before_those_that_come_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(producers, "STALL", 0.3)
    client = Client((0, 1), orders=[1, 2])
    producer = producer_at(client, "orders")
    long_awaited, later = events_for(SECOND, FIRST)
    assert isinstance((await producer.publish([long_awaited]) or [])[0], Stalled)
    await asyncio.sleep(0.05)

    publishing = asyncio.create_task(producer.publish([long_awaited, later]))
    await eventually(lambda: len(client.sent) == 2)
    client.answers[0].set_result(SimpleNamespace(offset=7))
    asyncio.get_running_loop().call_later(0.2, client.answers[1].set_result, SimpleNamespace(offset=8))
    outcomes = await publishing

    assert outcomes is not None
    assert isinstance(outcomes[1], Stalled)
    await asyncio.sleep(0.25)
    outcomes = await producer.publish([long_awaited, later])
    places = [{"topic": "orders", "partition": 1, "offset": 7}, {"topic": "orders", "partition": 0, "offset": 8}]
    assert outcomes == places
    assert client.sent == [("orders", 1, 1), ("orders", 0, 1)]


@pytest.mark.parametrize("topics", [["orders", "copies"], ["copies", "orders"]], ids=["first", "second"])
async def test_an_event_whose_record_for_another_topic_was_not_sent_is_not_delivered_by_the_one_that_is_confirmed(
    impatient: None, topics: list[str]
) -> None:
    class Failing(Client):
        fails = True

        async def send_batch(self, builder: BatchBuilder, topic: str, partition: int) -> Any:
            if topic == "copies" and self.fails:
                raise kafka.NotLeaderForPartitionError
            return await super().send_batch(builder, topic, partition)

    client = Failing((0,), orders=[1], copies=[1])
    producer = producer_at(client, topics)
    events = events_for(FIRST)
    assert isinstance((await producer.publish(events) or [])[0], TransientError)
    client.fails, client.silent = False, ()
    for answer in client.answers:
        if not answer.done():
            answer.set_result(SimpleNamespace(offset=7))

    for _ in range(3):
        if producer._producer is None:  # a lane opens it again
            producer._producer = client  # type: ignore[assignment]
        outcomes = await producer.publish(events)
        if not outcomes or not isinstance(outcomes[0], Exception):
            break

    assert ("copies", 0, 1) in client.sent


async def test_an_event_that_one_topic_refuses_while_another_is_awaited_is_not_delivered(impatient: None) -> None:
    client = Client((0,), orders=[1], copies=[1])
    producer = producer_at(client, ["orders", "copies"])
    events = events_for(FIRST)
    assert isinstance((await producer.publish(events) or [])[0], Stalled)
    refused, awaited = client.answers

    refused.set_exception(kafka.TopicAuthorizationFailedError("orders"))
    assert isinstance((await producer.publish(events) or [])[0], DestinationRefused)
    awaited.set_result(SimpleNamespace(offset=7))
    outcomes = await producer.publish(events)

    assert outcomes is not None
    assert isinstance(outcomes[0], Stalled)


async def test_a_batch_that_fails_later_is_sent_again_and_none_overtakes_it(impatient: None) -> None:
    client = Client(silent=(1,), orders=[1, 2])
    producer = producer_at(client, "orders")
    events = events_for(SECOND)
    await producer.publish(events)
    client.answers[0].set_exception(KafkaConnectionError("gone"))
    outcomes = await producer.publish([*events, *events_for(SECOND)])
    assert outcomes is not None
    assert [type(outcome) for outcome in outcomes] == [TransientError, TransientError]
    assert len(client.sent) == 1
    assert client.stopped  # the next publish begins with a new producer


async def test_an_event_that_its_lane_has_dropped_is_no_longer_waited_for(impatient: None) -> None:
    client = Client(silent=(1,), orders=[1, 2])
    producer = producer_at(client, "orders")
    await producer.publish(events_for(SECOND))
    client.answers[0].set_result(SimpleNamespace(offset=7))
    client.silent = ()
    assert not any(await producer.publish(events_for(SECOND)) or [])
    assert [count for _, _, count in client.sent] == [1, 1]


@pytest.mark.parametrize(
    ("code", "name"),
    [(19, " (NOT_ENOUGH_REPLICAS (19))"), (20, " (NOT_ENOUGH_REPLICAS_AFTER_APPEND (20))"), (None, "")],
)
async def test_a_partition_with_too_few_replicas_is_named_in_the_clusters_terms(
    code: int | None, name: str, impatient: None
) -> None:
    client = Client(silent=(1,), orders=[1, 2])
    client.cluster._partitions["orders"][1] = PartitionMetadata("orders", 1, 2, [1, 2, 3], [2], 0)
    producer = producer_at(client, "orders")
    producer._planner.rules._known["orders"] = (Rules(min_replicas=2), float("inf"))
    if code is not None:
        producer._reasons[TopicPartition("orders", 1)] = for_code(code)()
    outcomes = await producer.publish(events_for(SECOND))
    assert outcomes is not None
    words = f"partition 1 of topic 'orders' has 1 in-sync replica and needs 2: brokers 1, 3 down or behind{name}; its"
    assert words in str(outcomes[0])


async def test_what_aiokafka_could_not_take_in_time_is_held_and_does_not_overtake() -> None:
    class Slow(Client):
        async def send_batch(self, builder: BatchBuilder, topic: str, partition: int) -> Any:
            if self.sent:
                await asyncio.sleep(60.0)  # aiokafka waits until the batch before this one has gone
            return await super().send_batch(builder, topic, partition)

    client = Slow(silent=(1,), orders=[1, 1])
    producer = producer_at(client, "orders", timeout=0.2)
    async with asyncio.timeout(10.0):
        outcomes = await producer.publish(events_for(*[SECOND] * 40))
    assert outcomes is not None
    count = client.sent[0][2]
    assert 0 < count < 40
    assert {type(outcome) for outcome in outcomes[:count]} == {UnknownOutcome}
    assert {type(outcome) for outcome in outcomes[count:]} == {Stalled}


def test_the_planner_makes_records_as_the_profile_says() -> None:
    client = Client(orders=[1, 1])
    layout = Planner({"topics": "orders", "partition": 1}).lay_out(client, events_for("a", "b"), {"orders": [0, 1]})
    assert list(layout.batches) == [("orders", 1)]
    assert layout.outcomes == [None, None]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("not ready (node id 2).", "broker 2 cannot be reached, and broker 3 at kafka3:9092 is its leader now"),
        (
            "Connection at kafka2:9092 closed",
            "the broker at kafka2:9092 cannot be reached, and broker 3 at kafka3:9092 is",
        ),
        (
            "not ready (node id 3).",
            "broker 3 at kafka3:9092, its leader, cannot be reached (KafkaConnectionError: not ready",
        ),
        (
            "Connection at kafka3:9092 closed",
            "broker 3 at kafka3:9092, its leader, cannot be reached (KafkaConnectionError: Connection",
        ),
        ("no words", "broker 3 at kafka3:9092, its leader, cannot be reached (KafkaConnectionError: no words)"),
    ],
)
def test_the_broker_that_cannot_be_reached_is_named_and_not_the_leader_that_was_elected_meanwhile(
    said: str, expected: str
) -> None:
    cluster = cluster_of(orders=[3])
    cluster._brokers[3] = SimpleNamespace(nodeId=3, host="kafka3", port=9092, rack=None)
    assert f"is not confirmed: {expected}" in leaders.trouble(cluster, ("orders", 0), KafkaConnectionError(said))
