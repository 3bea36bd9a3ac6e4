"""Records that aiokafka cannot parse: the rest of their batch is read, and each becomes an UnreadableRecord.

aiokafka stops at the first such record, and also drops the good ones that it has parsed before it. Kafka's brokers do
not look at everything in a record. The format: https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiokafka import TopicPartition, codec
from aiokafka.errors import UnsupportedCodecError
from aiokafka.record.util import calc_crc32c

from evbus_like import speedups
from evbus_like.kafka import compression
from evbus_like.speedups import fastest

BATCH = struct.Struct(">qiibIhiqqqhii")  # base offset, length, epoch, magic, CRC, attributes, last offset delta, ...
MAGIC, CODEC = 16, 22  # the places of single bytes
AFTER_LENGTH = struct.calcsize(">qi")
AFTER_CRC = struct.calcsize(">qiibI")
CODECS = {1: codec.gzip_decode, 2: codec.snappy_decode, 3: codec.lz4_decode, 4: codec.zstd_decode}
NO_TIMESTAMP = -1
CORRUPT = "the batch is corrupt: its checksum is wrong"

READ_AT_ONCE = 200  # records
LIMIT = 2**63

Headers = Sequence[tuple[str, bytes | None]]


class Wrong(Exception):
    """What is wrong with a record or a batch."""


@dataclass
class UnreadableRecord:
    """A record that cannot be parsed, or all that is left of a batch; `content` is its value, or its raw bytes.

    `value` is None, as for a record without a body: there is nothing to decode.
    """

    topic: str
    partition: int
    offset: int
    problem: str
    content: bytes
    timestamp: int = NO_TIMESTAMP
    key: bytes | None = None
    headers: Headers = ()
    value: None = None


class Record(NamedTuple):
    """A record that could be parsed. That in C is none for the garbage collector, and takes its headers apart later."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Fields(NamedTuple):
    """The fields of a record, as far as they can be read; `problem` says what is wrong with the first wrong one."""

    problem: str
    offset: int | None = None
    timestamp: int = NO_TIMESTAMP
    key: bytes | None = None
    value: bytes | None = None
    headers: Headers = ()


def unpack(records: Any, raw: bytes, failed_at: dict[Any, int]) -> Iterator[Any]:
    """Yield the records of an answer to a fetch, parsed by aiokafka where it can.

    `records` is aiokafka's PartitionRecords, whose `next_fetch_offset` this advances; `raw` is what it parses. What it
    cannot parse is fetched once more, in case it was damaged on the way: `failed_at` has the offsets by partition.
    A library that is missing raises UnsupportedCodecError.
    """
    batches, start = records._records, 0
    while batches.has_next():
        end = start + AFTER_LENGTH + int.from_bytes(raw[start + 8 : start + AFTER_LENGTH], "big")
        problem = ""
        try:
            batch = batches.next_batch()
            if raw[start + CODEC] & 7 and end - start > BATCH.size:
                _check_size(memoryview(raw)[start:end])
            yield from _parse(records, batch, raw, start, end)
            records.next_fetch_offset = batch.next_offset
        except Exception as error:
            if isinstance(error, UnsupportedCodecError) and "not found" in str(error):
                raise
            problem = str(error) if isinstance(error, Wrong) else f"{type(error).__name__}: {error}"
        if problem:
            first = records.next_fetch_offset
            if failed_at.get(records._tp) != first:
                failed_at[records._tp] = first
                return
            yield from _salvage(records, raw[start:end], first, problem)
            if end - start < BATCH.size:  # aiokafka does not go beyond it
                return
        start = end


def _check_size(batch: memoryview) -> None:
    """Raise Wrong for a batch that must not be decompressed."""
    if batch[MAGIC] == 2 and compression.too_large(batch[CODEC] & 7, batch[BATCH.size :]):
        raise Wrong(f"the batch is compressed, and larger than {compression.MOST} bytes when it is not")


def _parse(records: Any, batch: Any, raw: bytes, start: int, end: int) -> Iterator[Any]:
    """Yield the records of a batch as aiokafka's PartitionRecords does, but raise for offsets out of order."""
    if not batch.validate_crc():
        raise Wrong(CORRUPT)
    if batch.producer_id is not None:
        records._consume_aborted_up_to(batch.base_offset)
        if batch.is_control_batch and records._contains_abort_marker(batch):
            records._aborted_producers.discard(batch.producer_id)
        if batch.is_transactional and batch.producer_id in records._aborted_producers:
            return
    if batch.is_control_batch:
        return
    first = previous = records.next_fetch_offset
    last = batch.next_offset - 1
    in_c = speedups.IN_C and raw[start + MAGIC] == 2
    for record in _read(raw, start, end, *records._tp) if in_c else _made(batch, *records._tp):
        offset = record.offset
        if offset < first:
            continue
        if not previous <= offset <= last:
            raise Wrong(f"its offset {offset} does not fit its batch")
        previous = records.next_fetch_offset = offset + 1
        yield record


def _made(batch: Any, topic: str, partition: int) -> Iterator[Record]:
    """Yield the records of a batch, parsed by aiokafka."""
    make = Record._make  # half the cost of calling the class
    for record in batch:
        yield make((topic, partition, record.offset, record.timestamp, record.key, record.value, record.headers))


def _read(raw: bytes, start: int, end: int, topic: str, partition: int) -> Iterator[Any]:
    """Yield the records of a batch, parsed in C, some at a time."""
    header = BATCH.unpack_from(raw, start)
    at, left, logged = start + BATCH.size, header[12], header[8] if header[5] & 8 else -1
    if header[5] & 7:
        raw = _content(raw[start:end], header)
        at, end = 0, len(raw)
    while left > 0:
        found, at = read(raw, at, end, min(left, READ_AT_ONCE), topic, partition, header[0], header[7], logged)
        if not found:
            raise Wrong("a record cannot be parsed")
        left -= len(found)
        yield from found
    if at != end:
        raise Wrong(f"the batch has {end - at} bytes behind its last record")


@fastest
def read(
    data: bytes, at: int, end: int, most: int, topic: str, partition: int, offset: int, time: int, log_time: int
) -> tuple[list[Record], int]:
    """Return at most `most` records of a batch, from the place `at` on, and the place of the next one.

    The list ends before a record that cannot be read. `offset` and `time` are those of the batch; a `log_time` that is
    not negative is the time of all.
    """
    header = (offset, 0, 0, 2, 0, 8 if log_time >= 0 else 0, 0, time, log_time)
    reader, found = Bytes(data[at:end]), list[Record]()
    while len(found) < most:
        try:
            fields = _fields(reader.part(reader.varint(), "a record"), header)
        except Wrong:
            break
        if fields.problem or fields.offset is None:
            break
        if not (-LIMIT <= fields.offset < LIMIT and -LIMIT <= fields.timestamp < LIMIT):
            break
        found.append(_record(TopicPartition(topic, partition), fields.offset, fields))
        at = end - reader.left
    return found, at


def _salvage(records: Any, batch: bytes, first: int, problem: str) -> Iterator[Any]:
    """Yield what can be read of the batch at which aiokafka stopped; it advances by one offset at least."""
    if len(batch) < BATCH.size:
        last, found = first, iter([(first, Fields(problem, value=batch))])
    else:
        last = max(first, _last_offset(batch))
        found = _records(batch, first, last)
    for offset, fields in found:
        records.next_fetch_offset = offset + 1
        make = _unreadable if fields.problem else _record
        yield make(records._tp, offset, fields)
    records.next_fetch_offset = last + 1


def _unreadable(place: Any, offset: int, found: Fields) -> UnreadableRecord:
    where = (place.topic, place.partition, offset)
    return UnreadableRecord(*where, found.problem, found.value or b"", found.timestamp, found.key, found.headers)


def _record(place: Any, offset: int, found: Fields) -> Record:
    return Record(place.topic, place.partition, offset, found.timestamp, found.key, found.value, found.headers)


def _last_offset(batch: bytes) -> int:
    """Give the offset of a batch's last record; in the old formats a message is a batch."""
    fields = BATCH.unpack_from(batch)
    return int(fields[0] + fields[6] if fields[3] >= 2 else fields[0])


def _records(batch: bytes, first: int, last: int) -> Iterator[tuple[int, Fields]]:
    """Yield the records of a batch from an offset on; a batch that cannot be taken apart is one record, the last."""
    header = BATCH.unpack_from(batch)
    offset, dense = header[0], header[12] == header[6] + 1  # otherwise compaction has removed some
    try:
        reader = Bytes(_content(batch, header))
        for _ in range(header[12]):
            found = _fields(reader.part(reader.varint(), "a record"), header)
            if found.offset is not None and not dense and offset <= found.offset <= last:
                offset = found.offset
            elif found.offset is not None and found.offset != offset:
                found = found._replace(problem=found.problem or f"its offset {found.offset} does not fit its batch")
            if offset > last:
                return  # what follows has no offset of its own
            if offset >= first:
                yield offset, found
            offset += 1
        if reader.left and offset <= last:
            raise Wrong(f"the batch has {reader.left} bytes behind its last record")
    except Wrong as wrong:
        begin = max(first, offset)
        if begin <= last:
            yield last, Fields(f"{wrong} (offsets {begin} to {last})" if begin < last else str(wrong), value=batch)


def _content(batch: bytes, header: tuple[Any, ...]) -> bytes:
    """Give the bytes of a batch's records; raises Wrong."""
    magic, crc, attributes = header[3], header[4], header[5]
    if magic != 2:
        raise Wrong(f"a message of format {magic} that cannot be parsed")
    if calc_crc32c(batch[AFTER_CRC:]) != crc:
        raise Wrong(CORRUPT)
    content = batch[BATCH.size :]
    kind = attributes & 7
    if not kind:
        return content
    if kind not in CODECS:
        raise Wrong(f"the batch is compressed with an unknown codec, number {kind}")
    _check_size(memoryview(batch))
    try:
        return bytes(CODECS[kind](content))
    except Exception as error:
        raise Wrong(f"the batch cannot be decompressed: {type(error).__name__}: {error}") from error


def _fields(record: bytes, header: tuple[Any, ...]) -> Fields:
    found = Fields("", value=record)
    try:
        reader = Bytes(record)
        reader.part(1, "its attributes")
        timestamp = header[7] + reader.varint()
        found = found._replace(offset=header[0] + reader.varint(), timestamp=header[8] if header[5] & 8 else timestamp)
        key, value = reader.nullable("the key"), reader.nullable("the value")
        headers, problem = _headers(reader)
        if not problem and reader.left:
            problem = f"it has {reader.left} bytes behind its last header"
        return found._replace(key=key, value=value, headers=headers, problem=problem)
    except Wrong as wrong:
        return found._replace(problem=str(wrong))


def _headers(reader: Bytes) -> tuple[Headers, str]:
    """Give the headers as far as they can be read, and what is wrong with the first wrong one."""
    headers: list[tuple[str, bytes | None]] = []
    problem = ""
    try:
        if (count := reader.varint()) < 0:
            raise Wrong(f"it is said to have {count} headers")
        for _ in range(count):
            name = reader.nullable("the name of a header")
            if name is None:
                problem = problem or "a header has no name"
            text = (name or b"").decode(errors="backslashreplace")
            if text.encode() != (name or b""):
                problem = problem or f"the header name {name!r:.100} is not UTF-8"
            headers.append((text, reader.nullable(f"the header {text!r:.100}")))
    except Wrong as wrong:
        problem = problem or str(wrong)
    return headers, problem


class Bytes:
    """Reads integers and byte strings from bytes; raises Wrong where they end too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """The number of bytes that are not read."""
        return len(self._data) - self._at

    def varint(self) -> int:
        """Read a zigzag integer of at most 64 bits (https://protobuf.dev/programming-guides/encoding/#signed-ints)."""
        value = 0
        for shift in range(0, 70, 7):
            (byte,) = self.part(1, "an integer")
            value |= (byte & 0x7F) << shift
            if byte < 0x80 and value < 2**64:
                return (value >> 1) ^ -(value & 1)
        raise Wrong("an integer has more than 64 bits")

    def part(self, size: int, what: str) -> bytes:
        """Read so many bytes."""
        if not 0 <= size <= self.left:
            raise Wrong(f"{what} is said to have {size} bytes, and {self.left} are left")
        self._at += size
        return self._data[self._at - size : self._at]

    def nullable(self, what: str) -> bytes | None:
        """Read bytes behind their length, which is -1 for None."""
        size = self.varint()
        return None if size == -1 else self.part(size, what)
