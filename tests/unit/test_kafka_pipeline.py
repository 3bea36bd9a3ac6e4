"""The pipeline to Kafka: several requests in flight, and the order of records whatever a broker answers.

aiokafka's own sender and accumulator send to a model of a broker, which treats numbered batches as KIP-98 says.
"""

import asyncio
import random
from collections import Counter
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka import errors as kafka
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator
from aiokafka.producer.sender import Sender

from evbus_like.kafka import pipeline
from evbus_like.kafka.internals import NotSent
from evbus_like.kafka.pipeline import MOST, Pipeline

PLACES = [TopicPartition("orders", 0), TopicPartition("orders", 1)]
RETRIED = 19  # NOT_ENOUGH_REPLICAS: nothing was appended
APPENDED = 20  # NOT_ENOUGH_REPLICAS_AFTER_APPEND
REFUSED = 32  # INVALID_TIMESTAMP
OUT_OF_ORDER = 45


class Broker:
    """One broker, which answers the requests of a connection in their order; `choose` gives what befalls a batch."""

    def __init__(self, choose=lambda: 0, leader=1):
        self.choose = choose
        self.logs = {place: [] for place in PLACES}  # the numbers of records
        self.most = self.in_flight = 0
        self.lines = Counter()
        self.line = asyncio.Lock()
        self.leaders = dict.fromkeys(PLACES, leader)
        self.cluster = SimpleNamespace(leader_for_partition=self.leaders.get)
        self.connection = 0

    async def send(self, node, request):
        """Take a request and give its answer."""
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        connection = self.connection
        try:
            async with self.line:
                for _ in range(5):  # turns of the loop, in which the producer may send more
                    await asyncio.sleep(0)
                if connection != self.connection:
                    raise kafka.KafkaConnectionError("closed")
                topics = [(name, [self.take(name, *batch) for batch in batches]) for name, batches in request._topics]
                if any(code == "lost" for _, answers in topics for _, code, *_ in answers):
                    self.connection += 1
                    raise kafka.KafkaConnectionError("closed")
                return SimpleNamespace(API_VERSION=8, topics=topics)
        finally:
            self.in_flight -= 1

    def take(self, topic, partition, content):
        """Append a batch, unless it does not follow the last one."""
        first, count = (int.from_bytes(content[at : at + 4], "big") for at in (53, 57))
        log, what = self.logs[TopicPartition(topic, partition)], self.choose()
        code = 0
        if what in (RETRIED, REFUSED, "lost before"):
            code = what
        elif log and first > log[-1] + 1:
            code = OUT_OF_ORDER
        elif not log or first > log[-1]:
            log += range(first, first + count)
            code = what
        return partition, "lost" if str(code).startswith("lost") else code, first, -1, 0, [], None

    def force_metadata_update(self):
        """Do nothing: the leaders stay."""

    async def _maybe_wait_metadata(self):
        await asyncio.sleep(0)


class Numbers:
    """The part of aiokafka's transaction manager that numbers the batches of an idempotent producer."""

    transactional_id = None
    producer_id, producer_epoch = 7, 0

    def __init__(self):
        self.next = Counter()
        self.has_pid = lambda: True
        self.maybe_add_partition_to_txn = lambda place: None
        self.sequence_number = self.next.__getitem__

    def increment_sequence_number(self, place, count):
        """Number the next batch."""
        self.next[place] += count


async def deliver(broker, count, numbered=True, places=1):
    """Send batches of three records each, and give their futures in order and the sender."""
    numbers = Numbers() if numbered else None
    accumulator = MessageAccumulator(broker.cluster, 10_000, 0, 60, txn_manager=numbers)
    given = {"txn_manager": numbers, "message_accumulator": accumulator, "retry_backoff_ms": 0}
    sender = Sender(broker, acks=-1, request_timeout_ms=1000, **given)
    producer = SimpleNamespace(_sender=sender, _message_accumulator=accumulator, client=broker)
    sending = Pipeline(producer)
    await sender.start()
    futures = []
    for number in range(count):
        builder = BatchBuilder(10_000, 0)
        for _ in range(3):
            builder.append(timestamp=1, key=None, value=b"v", headers=[])
        place = PLACES[number % places]
        try:
            futures.append(await accumulator.add_batch(builder, place, 10))
        except kafka.KafkaError:  # one before it was refused
            break
        sending.added(place)
    await asyncio.wait(futures, timeout=10)
    await sender.close()
    return futures, sender


def run(*args, **options):
    async def deliver_in_time():
        async with asyncio.timeout(20):
            return await deliver(*args, **options)

    return asyncio.run(deliver_in_time())


def test_several_requests_are_in_flight_once_the_first_is_confirmed():
    broker = Broker()
    futures, sender = run(broker, 20)
    assert [future.result().offset for future in futures] == list(range(0, 60, 3))
    assert broker.most == MOST
    assert not sender._muted_partitions
    assert not sender._in_flight


def test_a_producer_without_numbers_has_one_request_in_flight():
    broker = Broker()
    run(broker, 10, numbered=False)
    assert broker.most == 1


def test_the_first_batch_of_a_partition_is_alone_for_the_broker_would_take_any_number():
    broker = Broker(choose=iter([REFUSED] + [0] * 9).__next__)
    futures, _ = run(broker, 5)
    assert broker.logs[PLACES[0]] == []
    assert broker.most == 1
    assert all(future.exception() for future in futures)


def test_long_after_its_last_confirm_a_batch_is_alone_again(monkeypatch):
    monkeypatch.setattr(pipeline, "STEADY_FOR", 0.0)
    broker = Broker()
    run(broker, 5)
    assert broker.most == 1


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("troubles", [(RETRIED, APPENDED), ("lost before", "lost after"), (RETRIED, "lost after")])
def test_whatever_is_sent_again_the_log_has_all_records_once_and_in_order(seed, troubles):
    some = random.Random(seed)
    places = some.choice((1, 2))
    broker = Broker(choose=lambda: some.choice(troubles) if some.random() < 0.3 else 0)
    futures, sender = run(broker, 24, places=places)
    assert all(future.done() and future.exception() is None for future in futures)
    for place in PLACES[:places]:
        assert broker.logs[place] == list(range(72 // places))
    assert not sender._muted_partitions
    assert broker.most <= MOST


@pytest.mark.parametrize("seed", range(30))
def test_behind_a_batch_that_is_refused_nothing_is_appended(seed):
    some = random.Random(seed)
    refused_at = some.randrange(1, 10)
    troubles = iter([0] * refused_at + [REFUSED] + [0] * 100)
    broker = Broker(choose=lambda: RETRIED if some.random() < 0.2 else next(troubles))
    futures, _ = run(broker, 20)
    delivered = [future.exception() is None for future in futures]
    assert delivered == sorted(delivered, reverse=True), "one behind the refused batch was delivered"
    assert broker.logs[PLACES[0]] == list(range(3 * sum(delivered)))
    first, *others = [future.exception() for future in futures if future.exception() is not None]
    assert getattr(first, "errno", None) == REFUSED
    assert all(isinstance(error, NotSent) for error in others)


def test_a_partition_whose_leader_is_another_broker_now_is_not_held_by_the_old_one():
    broker = Broker()

    def choose():
        if len(broker.logs[PLACES[0]]) == 9:
            broker.leaders[PLACES[0]] = 2
        return 0

    broker.choose = choose
    futures, _ = run(broker, 20, places=2)
    assert all(future.done() and future.exception() is None for future in futures)
