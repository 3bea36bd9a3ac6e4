"""What is reached inside aiokafka: every private name, checked when a client is made.

aiokafka has no public way to pace its requests for metadata, to end its tasks when no broker answers, or to commit for
partitions of other members. A release without one of these names is refused with a clear error.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any

import aiokafka
from aiokafka.protocol.fetch import FetchRequest

from evbus_like.engine.errors import DestinationRefused

SUPPORTED = "0.14"
CLIENT = ("_conns", "_md_update_fut", "_metadata_update")
PRODUCER = ("_closed", "_sender.sender_task")
COORDINATOR = ("check_errors", "commit_offsets", "fetch_committed_offsets", "coordinator_id", "generation")
GROUP_TASKS = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task")
NO_GROUP_TASKS = ("_reset_committed_task",)
FETCHER_TASKS = ("_fetch_task", "_pending_tasks")
FETCHER = ("_records", *FETCHER_TASKS)
PARTITION_RECORDS = (
    *("_tp", "_records", "_records_iterator", "next_fetch_offset"),
    *("_consume_aborted_up_to", "_contains_abort_marker", "_aborted_producers"),
)
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
    _check(producer.client, (*CLIENT, *CREDENTIALS.values()))


def check_consumer(consumer: Any) -> None:
    """Check a consumer that has started; raises DestinationRefused as `check_producer` does."""
    _check(consumer, ("_client", "_closed", "_coordinator", "_fetcher", "_group_id"))
    _check(consumer._client, (*CLIENT, *CREDENTIALS.values()))
    grouped = consumer._group_id is not None
    _check(consumer._coordinator, (*COORDINATOR, *GROUP_TASKS) if grouped else NO_GROUP_TASKS)
    _check(consumer._fetcher, FETCHER)


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


def metadata_update_of(client: Any) -> asyncio.Future[Any] | None:
    """Give the look-up of metadata that is under way, None where there is none."""
    update: asyncio.Future[Any] | None = client._md_update_fut
    return update


def wrap_metadata_update(client: Any, wrap: Callable[[UpdateMetadata], UpdateMetadata]) -> None:
    """Replace how a client asks for metadata."""
    client._metadata_update = wrap(client._metadata_update)


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
