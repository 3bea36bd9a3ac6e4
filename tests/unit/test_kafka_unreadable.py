"""Records that aiokafka cannot parse: found, named, and no reason to lose their neighbours."""

import struct

import pytest
from aiokafka import codec as codecs
from aiokafka.errors import UnsupportedCodecError
from hypothesis import given, settings
from hypothesis import strategies as some

from evbus_like.kafka import unreadable
from evbus_like.kafka.unreadable import UnreadableRecord, _last_offset, unpack
from tests.unit.records import PLACE, batch, fetched, sealed

GOOD = {"headers": [("tenant", b"blue")]}
BAD_NAME = {"value": b"bad", "headers": [("XX", b"1"), ("tenant", b"red")]}


def read(raw, offset=0):
    """Give the records of an answer, which is fetched once more where aiokafka stops, and the next offset to fetch."""
    failed_at, found = {}, []
    for _ in range(100):
        raw = from_offset(raw, offset)
        records = fetched(raw, offset)
        found += unpack(records, raw, failed_at)
        if failed_at.get(PLACE) != records.next_fetch_offset:
            return found, records.next_fetch_offset
        offset = records.next_fetch_offset
    raise AssertionError("it is fetched for ever")


def from_offset(raw, offset):
    """Give what a broker answers: nothing before the batch of the offset."""
    while raw and _last_offset(raw) < offset:
        raw = raw[12 + int.from_bytes(raw[8:12], "big") :]
    return raw


def summary(found):
    """Give the offsets of records, negative where they are unreadable, which end at the first 0."""
    return [-record.offset if isinstance(record, UnreadableRecord) else record.offset for record in found]


def test_a_header_name_that_is_not_utf_8_makes_one_record_unreadable_and_no_other():
    raw = batch(GOOD, BAD_NAME, GOOD).replace(b"XX", b"\xff\xfe")
    found, offset = read(sealed(raw) + batch(GOOD, base=3))
    assert (summary(found), offset) == ([0, -1, 2, 3], 4)
    bad = found[1]
    assert (bad.topic, bad.partition, bad.key, bad.content, bad.timestamp) == (*PLACE, b"k", b"bad", 1001)
    assert bad.headers == [("\\xff\\xfe", b"1"), ("tenant", b"red")]
    assert bad.problem == "the header name b'\\xff\\xfe' is not UTF-8"


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_neighbours_in_a_compressed_batch_are_read(codec):
    plain = batch(GOOD, BAD_NAME, GOOD).replace(b"XX", b"\xff\xfe")
    encode = [None, codecs.gzip_encode, codecs.snappy_encode, codecs.lz4_encode, codecs.zstd_encode][codec]
    content = bytes(encode(plain[61:]))
    raw = plain[:8] + struct.pack(">i", 49 + len(content)) + plain[12:21] + struct.pack(">h", codec) + plain[23:61]
    assert summary(read(sealed(raw + content))[0]) == [0, -1, 2]


def test_records_before_the_offset_that_was_asked_for_are_not_given_again():
    raw = sealed(batch(GOOD, BAD_NAME, GOOD, BAD_NAME).replace(b"XX", b"\xff\xfe"))
    assert summary(read(raw, offset=2)[0]) == [2, -3]
    assert summary(read(raw, offset=3)[0]) == [-3]


def test_a_wrong_checksum_makes_the_whole_batch_one_record_that_names_its_offsets():
    damaged = batch(GOOD, GOOD, GOOD, base=5)
    found, offset = read(batch(*[GOOD] * 5) + damaged[:-1] + b"\x00" + batch(GOOD, base=8))
    assert (summary(found), offset) == ([0, 1, 2, 3, 4, -7, 8], 9)
    assert "checksum" in found[5].problem
    assert "offsets 5 to 7" in found[5].problem
    assert found[5].content == damaged[:-1] + b"\x00"


def test_an_unknown_codec_is_named():
    raw = batch(GOOD)
    (bad,), offset = read(sealed(raw[:22] + b"\x07" + raw[23:]))
    assert offset == 1
    assert "unknown codec, number 7" in bad.problem


def test_a_compressed_batch_that_cannot_be_decompressed_is_unreadable():
    raw = batch(GOOD, GOOD)
    (bad,), offset = read(sealed(raw[:22] + b"\x01" + raw[23:]))
    assert offset == 2
    assert "cannot be decompressed" in bad.problem


def test_a_library_that_is_missing_is_an_error_of_the_worker_and_not_of_the_record(monkeypatch):
    def missing(*given):
        raise UnsupportedCodecError("Libraries for lz4 compression codec not found")

    monkeypatch.setattr(unreadable, "_parse", missing)
    with pytest.raises(UnsupportedCodecError):
        list(unpack(fetched(batch(GOOD)), batch(GOOD), {}))


def test_a_record_whose_offset_is_outside_of_its_batch_is_named_and_skips_no_other():
    plain = batch(GOOD, {"value": b"far"}, GOOD)
    at = plain.index(b"\x02k\x06far") - 1  # the difference of its offset to the batch's
    found, offset = read(sealed(plain[:at] + b"\x7e" + plain[at + 1 :]) + batch(GOOD, base=3))
    assert (summary(found), offset) == ([0, -1, 2, 3], 4)
    assert found[1].problem == "its offset 63 does not fit its batch"


@pytest.mark.parametrize("magic", [0, 1])
def test_a_damaged_message_of_an_old_format_is_unreadable(magic):
    raw = batch(GOOD)
    (bad,), offset = read(raw[:16] + bytes([magic]) + raw[17:])
    assert offset == 1
    assert bad.problem


def test_a_record_whose_length_is_wrong_is_named_and_the_rest_is_read():
    plain = batch({"key": None, "value": b"abcdefgh"}, GOOD)
    raw = plain.replace(b"\x10abcdefgh", b"\x0eabcdefgh")  # the value is said to have 7 bytes, so 8 headers follow
    found, offset = read(sealed(raw))
    assert (offset, found[-1].offset) == (2, 1)
    assert found[0].problem
    assert not isinstance(found[-1], UnreadableRecord)


@settings(max_examples=4 * settings().max_examples)
@given(
    places=some.lists(some.integers(12, 400), max_size=6),
    values=some.binary(min_size=6, max_size=6),
    seal=some.booleans(),
)
def test_whatever_is_damaged_reading_goes_on_behind_it(places, values, seal):
    first, last = batch(GOOD, base=0), batch(GOOD, base=5)
    damaged = bytearray(batch(GOOD, BAD_NAME, {"value": None}, GOOD, base=1))
    for place, value in zip(places, values, strict=False):
        if 16 <= place < len(damaged) and not 23 <= place < 27:  # the framing and the last offset are the broker's
            damaged[place] = value
    content = bytes(damaged)
    found, offset = read(first + (sealed(content) if seal else content) + last)
    assert offset == 6
    assert (found[0].offset, found[-1].offset) == (0, 5)
    offsets = [record.offset for record in found]
    assert offsets == sorted(set(offsets))
    assert len(found) > 2
