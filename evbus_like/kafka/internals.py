"""What is reached inside aiokafka: every private name, checked when a client is made.

aiokafka has no public way to pace its requests for metadata, to end its tasks when no broker answers, or to commit for
partitions of other members. A release without one of these names is refused with a clear error.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import nullcontext
from typing import Any

import aiokafka
from aiokafka import errors as kafka
from aiokafka.client import ConnectionGroup
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.producer.sender import SendProduceReqHandler
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.produce import ProduceRequest_v8
from aiokafka.protocol.types import Int16, Int32, String
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from evbus_like import speedups
from evbus_like.engine.errors import DestinationRefused
from evbus_like.kafka import codes

SUPPORTED = "0.14"
CLIENT = (
    *("_conns", "_get_conn", "_get_conn_lock_value", "_request_timeout_ms"),
    *("_md_update_fut", "_metadata_update"),
)
PRODUCER = (
    "_closed",
    *(f"_message_accumulator.{name}" for name in ("_batch_size", "_batches", "_compression_type")),
    *(f"_message_accumulator.{name}" for name in ("_pop_batch", "reenqueue", "waiter")),
    *(f"_sender.{name}" for name in ("_acks", "_in_flight", "_muted_partitions", "_retry_backoff")),
    *(f"_sender.{name}" for name in ("_send_produce_req", "_txn_manager", "sender_task")),
)
PRODUCE_HANDLER = ("_can_retry", "create_request", "handle_response")
COORDINATOR = ("check_errors", "commit_offsets", "fetch_committed_offsets", "coordinator_id", "generation")
GROUP_TASKS = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task")
NO_GROUP_TASKS = ("_reset_committed_task",)
FETCHER_TASKS = ("_fetch_task", "_pending_tasks")
FETCHER = ("_records", *FETCHER_TASKS)
PARTITION_RECORDS = (
    *("_tp", "_records", "_records_iterator", "next_fetch_offset"),
    *("_consume_aborted_up_to", "_contains_abort_marker", "_aborted_producers"),
)
BOOTSTRAP = "bootstrap"  # the id of a broker whose real one is not known yet
METADATA = "metadata"  # the group of connections for what must not wait behind another request
CREDENTIALS = {
    "ssl_context": "_ssl_context",
    "security_protocol": "_security_protocol",
    "sasl_mechanism": "_sasl_mechanism",
    "sasl_plain_username": "_sasl_plain_username",
    "sasl_plain_password": "_sasl_plain_password",
}
UpdateMetadata = Callable[[Any, Collection[str]], Awaitable[Any]]
Unpack = Callable[[Any, bytes], Iterator[Any]]


def check_producer(producer: Any) -> None:
    """Check a new producer; raises DestinationRefused if this release of aiokafka lacks a name that is used here."""
    _check(producer, PRODUCER)
    _check(SendProduceReqHandler, PRODUCE_HANDLER)
    _check(producer.client, (*CLIENT, *CREDENTIALS.values()))


def check_consumer(consumer: Any) -> None:
    """Check a consumer that has started; raises DestinationRefused as `check_producer` does."""
    _check(consumer, ("_client", "_closed", "_coordinator", "_fetcher", "_group_id", "_subscription.subscription"))
    _check(consumer._client, (*CLIENT, *CREDENTIALS.values()))
    grouped = consumer._group_id is not None
    _check(consumer._coordinator, (*COORDINATOR, *GROUP_TASKS) if grouped else NO_GROUP_TASKS)
    _check(consumer._fetcher, FETCHER)


def read_and_ends(consumer: Any) -> list[tuple[Any, int, int]]:
    """Return each partition, the offset to read next, and the end by the last answer; no partition without answers."""
    assignment = getattr(consumer._subscription.subscription, "assignment", None)
    if assignment is None:
        return []
    read = {place: found.offset for place, found in assignment.all_consumed_offsets().items()}
    ends = {place: assignment.state_value(place).highwater for place in read}
    return [(place, offset, ends[place]) for place, offset in read.items() if ends[place] is not None]


def _check(found: Any, names: Collection[str]) -> None:
    missing = [name for name in names if not _has(found, name)]
    if missing:
        raise DestinationRefused(
            f"aiokafka {aiokafka.__version__} is not supported, its {type(found).__name__} has no {', '.join(missing)}:"
            f" install aiokafka {SUPPORTED}"
        )


def _has(found: Any, name: str) -> bool:
    for part in name.split("."):
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True


def client_of(consumer: Any) -> Any:
    """Give the client of a consumer: its connections and its metadata."""
    return consumer._client


def coordinator_of(consumer: Any) -> Any:
    """Give the coordinator of a consumer's group.

    The consumer's own commit() refuses partitions of other members, and those that are just being revoked.
    """
    return consumer._coordinator


def credentials_of(client: Any) -> dict[str, Any]:
    """Give the keywords by which a client logs in, for one more connection."""
    return {name: getattr(client, attribute) for name, attribute in CREDENTIALS.items()}


def connections_of(client: Any) -> list[Any]:
    """Give the open connections of a client."""
    return list(client._conns.values())


def replicas_of(producer: Any, topic: str) -> int:
    """Give the number of replicas of a topic's partitions, the smallest; 0 if it is not known."""
    found = getattr(producer.client.cluster, "_partitions", {}).get(topic) or {}
    return min((len(each.replicas) for each in found.values()), default=0)


def metadata_update_of(client: Any) -> asyncio.Future[Any] | None:
    """Give the look-up of metadata that is under way, None where there is none."""
    update: asyncio.Future[Any] | None = client._md_update_fut
    return update


def replace_metadata_update(client: Any, update: UpdateMetadata) -> None:
    """Replace how a client asks for metadata."""
    client._metadata_update = update


def partition_of(cluster: Any, place: tuple[str, int]) -> Any:
    """Give what a cluster says of a partition: leader, replicas and isr; None if it is not known."""
    return cluster._partitions.get(place[0], {}).get(place[1])


def nodes_of(client: Any) -> list[Any]:
    """Give the ids of the brokers that a client can ask, in a random order."""
    nodes = [broker.nodeId for broker in client.cluster.brokers()]
    random.shuffle(nodes)
    return [*(node for node, group in client._conns if node == BOOTSTRAP), *nodes]


def is_busy(client: Any, node: Any) -> bool:
    """Whether something waits on the connection to a broker, which answers the requests of one connection in order."""
    connection = client._conns.get((node, ConnectionGroup.DEFAULT))
    return connection is not None and bool(getattr(connection, "_requests", ()))


async def idle_connection_to(client: Any, node: Any) -> Any:
    """Give a connection to a broker where nothing else waits, None if there is none."""
    return await client._get_conn(node, group=METADATA if is_busy(client, node) else ConnectionGroup.DEFAULT)


def close_unlisted(client: Any) -> None:
    """Close the connections to brokers that the cluster does not list any more, which fails what waits there."""
    listed = {broker.nodeId for broker in client.cluster.brokers()}
    for place in [place for place in client._conns if place[0] not in listed]:
        client._conns.pop(place).close()


def connect_apart(client: Any, within: float) -> None:
    """Let a client connect to several brokers at once, to each within so many seconds; requests keep their timeout."""
    request_timeout, connect = client._request_timeout_ms / 1000, client._get_conn
    client._request_timeout_ms = int(min(request_timeout, within) * 1000)
    client._get_conn_lock_value = nullcontext()
    locks: defaultdict[Any, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def connection_to(node: Any, *, group: Any = ConnectionGroup.DEFAULT, **options: Any) -> Any:
        found = client._conns.get((node, group))
        if found is not None and found.connected():
            return found
        async with locks[node, group]:
            made = await connect(node, group=group, **options)
        if made is not None:
            made._request_timeout = request_timeout
        return made

    client._get_conn = connection_to


def call_while_waiting(client: Any, every: float, call: Callable[[], object]) -> None:
    """Call a function each time that a request of a client has waited so many seconds more for its answer."""
    send, later = client.send, asyncio.get_running_loop().call_later

    def again(waiting: list[asyncio.TimerHandle]) -> None:
        waiting[0] = later(every, again, waiting)
        call()

    async def watched(node: Any, request: Any, **options: Any) -> Any:
        waiting: list[asyncio.TimerHandle] = []
        waiting.append(later(every, again, waiting))
        try:
            return await send(node, request, **options)
        finally:
            waiting[0].cancel()

    client.send = watched


def connect_quickly_first(client: Any, within: float) -> None:
    """Let a client that has several servers to begin with try each for a short time, before it waits for one."""
    bootstrap = client.bootstrap

    async def in_two_rounds() -> None:
        patience = client._request_timeout_ms
        if len(client.hosts) > 1:
            client._request_timeout_ms = min(patience, int(within * 1000))
            try:
                await bootstrap()
            except kafka.KafkaConnectionError:
                pass
            else:
                return
            finally:
                client._request_timeout_ms = patience
        await bootstrap()

    client.bootstrap = in_two_rounds


def sender_of(producer: Any) -> asyncio.Task[None] | None:
    """Give the task of a producer that sends, None before it has started."""
    task: asyncio.Task[None] | None = producer._sender.sender_task
    return task


def tasks_of(consumer: Any) -> list[asyncio.Task[Any]]:
    """Give the tasks that a consumer has running."""
    found = [getattr(consumer._coordinator, name, None) for name in (*GROUP_TASKS, *NO_GROUP_TASKS)]
    found += [getattr(consumer._fetcher, "_fetch_task", None), *getattr(consumer._fetcher, "_pending_tasks", ())]
    return [task for task in found if task is not None]


def mark_closed(client: Any) -> None:
    """Mark a producer or consumer as closed, so that it does not complain when it is collected."""
    client._closed = True


def replace_unpacking(consumer: Any, unpack: Unpack) -> None:
    """Let `unpack` yield the fetched records of a consumer that has started: from a PartitionRecords and its bytes."""
    answers: dict[Any, bytes] = {}  # what the fetcher is about to take apart, by partition
    send = consumer._client.send

    async def noting_answers(node_id: int, request: Any, **options: Any) -> Any:
        answer = await send(node_id, request, **options)
        if request.API_KEY == FetchRequest.API_KEY:
            for topic, partitions in answer.topics:
                for partition, *_, content in partitions:
                    answers[aiokafka.TopicPartition(topic, partition)] = content
        return answer

    class Fetched(OrderedDict[Any, Any]):
        """The fetcher's answers by partition, which it adds right after each was noted."""

        def __setitem__(self, place: Any, result: Any) -> None:
            found = getattr(result, "_partition_records", None)
            content = answers.pop(place, None)
            if found is not None and content is not None:
                _check(found, PARTITION_RECORDS)
                found._records_iterator = unpack(found, content)
            super().__setitem__(place, result)

    consumer._client.send = noting_answers
    consumer._fetcher._records = Fetched()


class BrokerError(kafka.KafkaError):  # type: ignore[misc]  # aiokafka ships no types
    """What a broker answered to a batch that it refused; `records` has its words about single records, by index."""

    def __init__(self, topic: str, partition: int, code: int, words: str | None, records: dict[int, str]) -> None:
        texts = [f"topic {topic!r}, partition {partition}: {codes.name(code)}", words, codes.ADVICE.get(code)]
        super().__init__("; ".join(filter(None, texts)))
        self.errno = code
        self.records = records

    def __str__(self) -> str:
        return str(self.args[0])


class NotSent(kafka.KafkaError):  # type: ignore[misc]  # as above
    """A batch that waited behind one that was refused."""


class FlatProduceRequest(ProduceRequest_v8):  # type: ignore[misc]  # as above
    """Is encoded with one copy of the records, where aiokafka makes six: a fifth of the time of 10 KB events."""

    def encode(self) -> bytes:
        parts = [String("utf-8").encode(self.transactional_id), Int16.encode(self.required_acks)]
        parts += (Int32.encode(self.timeout), Int32.encode(len(self.topics)))
        for topic, partitions in self.topics:
            parts += (String("utf-8").encode(topic), Int32.encode(len(partitions)))
            for number, records in partitions:
                parts += (Int32.encode(number), Int32.encode(len(records)), records)
        return b"".join(parts)


class ProduceHandler(SendProduceReqHandler):  # type: ignore[misc]  # aiokafka ships no types
    """Asks brokers for their reasons (version 8, KIP-467), which aiokafka ignores, and fails batches with them."""

    def __init__(self, sender: Any, batches: Any, reasons: dict[Any, Exception] | None = None) -> None:
        super().__init__(sender, batches)
        self._reasons = {} if reasons is None else reasons  # why a batch is sent again, by TopicPartition
        self._failed: dict[Any, bool] = {}
        self._again: list[Any] = self._to_reenqueue

    def create_request(self) -> Any:
        request = super().create_request()
        request._CLASSES = (*request._CLASSES, FlatProduceRequest)
        return request

    def take(self, answer: asyncio.Task[Any], failed: dict[Any, bool]) -> list[Any]:
        """Take the answer to the request; returns the batches that are to be sent again, in order.

        `failed` are partitions where a batch of an earlier request was not taken, and whether that is sent again. It
        gets those of this request.
        """
        self._failed = failed
        try:
            response = answer.result()
        except (kafka.KafkaError, asyncio.CancelledError) as error:
            trouble = error if isinstance(error, kafka.KafkaError) else kafka.KafkaConnectionError("cancelled")
            if getattr(trouble, "invalid_metadata", False):
                self._client.force_metadata_update()
            for batch in self._batches.values():
                self._lost(batch, trouble)
        else:
            if self._sender._acks == 0:
                for batch in self._batches.values():
                    batch.done_noack()
            else:
                self.handle_response(response)
        for place, batch in self._batches.items():
            if batch in self._to_reenqueue:
                failed[place] = True
            elif batch.future.done() and (batch.future.cancelled() or batch.future.exception() is not None):
                failed[place] = False
        return self._again

    def _lost(self, batch: Any, error: Any) -> None:
        """Handle a batch whose request has no answer."""
        if self._failed.get(batch.tp) is False:
            _not_sent(batch, "records before it were refused")
        elif self._can_retry(error, batch):
            self._to_reenqueue.append(batch)
        else:
            batch.failure(error)

    def _can_retry(self, error: Any, batch: Any) -> Any:
        self._reasons[batch.tp] = error
        return super()._can_retry(error, batch)

    def handle_response(self, response: Any) -> None:
        for place in self._batches:
            self._reasons.pop(place, None)
        response.topics = [
            (topic, [answer for answer in answers if not self._refused(topic, *answer)])
            for topic, answers in response.topics
        ]
        super().handle_response(response)

    def _refused(self, topic: str, partition: int, code: int, *more: Any) -> bool:
        """Fail a batch that aiokafka would not send again; one behind a batch that was not taken shares its fate."""
        place = aiokafka.TopicPartition(topic, partition)
        batch, error = self._batches.get(place), kafka.for_code(code)
        if not code or batch is None:
            return False
        if self._failed.get(place) is False:
            _not_sent(batch, "records before it were refused")
            return True
        if place in self._failed and error is kafka.OutOfOrderSequenceNumber:
            self._to_reenqueue.append(batch)
            return True
        if error.retriable or error is kafka.DuplicateSequenceNumber:
            return False
        records, words = more[3:5] if len(more) > 3 else ((), None)
        batch.failure(BrokerError(topic, partition, code, words, {index: text or "" for index, text in records or ()}))
        for waiting in self._sender._message_accumulator._batches.pop(place, ()):  # none may overtake it
            _not_sent(waiting, f"records before it were refused: {codes.name(code)}")
        return True


def _not_sent(batch: Any, why: str) -> None:
    """Fail a batch behind one that was refused; nobody may wait for it yet."""
    batch.failure(NotSent(why))
    for future in (batch.future, batch._drain_waiter):
        future.exception()


def create_batch(producer: Any, size: int | None) -> Any:
    """Make a batch of at most `size` bytes before compression, but for a first record that is larger."""
    if speedups.RecordBatch is not None and type(producer) is aiokafka.AIOKafkaProducer and not compresses(producer):
        usual = producer._message_accumulator._batch_size
        return QuickBuilder(usual if size is None else min(size, usual))
    if size is None or size >= producer._message_accumulator._batch_size:
        return producer.create_batch()
    return BatchBuilder(size, producer._message_accumulator._compression_type)


class QuickBuilder:
    """Does what aiokafka's BatchBuilder does without compression and transactions, in C: for a fifth of the time.

    `append_record` takes a timestamp in milliseconds, a key, a value and a list of headers, and returns None if the
    batch is full.
    """

    def __init__(self, size: int) -> None:
        self._records = speedups.RecordBatch(size)
        self.append_record = self._records.append
        self.extend = self._records.extend
        self.record_count = self._records.count
        self._state = (-1, -1, 0)
        self._closed = False
        self._built: bytearray | None = None

    def size(self) -> int:
        """Return the bytes so far."""
        return int(self._records.size())

    def close(self) -> None:
        """Take no more records."""
        self._closed = True

    def closed(self) -> bool:
        """Whether it takes no more records."""
        return self._closed

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._state = (producer_id, producer_epoch, base_sequence)

    def _build(self) -> bytearray:
        self.close()
        if self._built is None:
            self._built = self._records.build(*self._state)
        return self._built


def appender(builder: Any) -> Any:
    """Return the function that appends a record to a batch: `QuickBuilder.append_record`, or its like."""
    if type(builder) is QuickBuilder:
        return builder.append_record
    return lambda timestamp, key, value, headers: builder.append(
        timestamp=timestamp, key=key, value=value, headers=headers
    )


def extender(builder: Any) -> Any:
    """Return the function that appends the records of many events, or None where each must be appended by itself."""
    return builder.extend if type(builder) is QuickBuilder else None


def record_size(key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> int:
    """Give the bytes of a record that is alone in its batch, uncompressed: what Kafka compares with its limit."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 0)
    return int(builder.size() + builder.size_in_bytes(0, 0, key, value, headers))


def compresses(producer: Any) -> bool:
    """Whether a producer compresses its batches."""
    return bool(producer._message_accumulator._compression_type)


class _Named(dict[int, Any]):
    """aiokafka's errors by code, and one of its own for each code that it does not know."""

    def get(self, code: int, default: Any = None) -> Any:
        if code not in self:
            made = {"errno": code, "message": codes.name(code), "retriable": code in codes.RETRIABLE}
            self[code] = type("BrokerResponseError", (kafka.BrokerResponseError,), made)
        return self[code]


def name_errors() -> None:
    """Let aiokafka name all codes of the protocol, instead of UnknownError with the code -1."""
    if not isinstance(kafka.kafka_errors, _Named):
        kafka.kafka_errors = _Named(kafka.kafka_errors)


name_errors()
