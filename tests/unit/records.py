"""Batches of records as Kafka stores them, also damaged ones."""

import struct
from types import SimpleNamespace

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

PLACE = TopicPartition("orders.events", 3)


def batch(*records, base=0, codec=0):
    """Make a batch of records, each a mapping of key, value, headers and timestamp, from an offset on."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, 0, 1 << 24)
    for index, given in enumerate(records):
        record = {"key": b"k", "value": b"v", "headers": [], "timestamp": 1000 + index, **given}
        assert builder.append(index, **record) is not None
    return sealed(struct.pack(">q", base) + bytes(builder.build())[8:])


def sealed(content):
    """Give a batch that was changed the checksum of its new content."""
    return content[:17] + struct.pack(">I", calc_crc32c(content[21:])) + content[21:]


def fetched(raw, offset=0):
    """Make aiokafka's view of an answer to a fetch that asked for an offset."""
    return PartitionRecords(PLACE, MemoryRecords(raw), [], offset, None, None, True, READ_COMMITTED)


def record(key=b"k", value=b"{}", headers=(), timestamp=1500, topic="orders.events", offset=7):
    """Make a record as aiokafka gives it."""
    fields = {"key": key, "value": value, "headers": headers, "timestamp": timestamp, "topic": topic}
    return SimpleNamespace(partition=3, offset=offset, **fields)
