"""Compressed batches: how large they become is known before they are decompressed."""

import gzip
import struct

import pytest
from aiokafka import codec
from hypothesis import given
from hypothesis import strategies as some

from evbus_like.kafka import compression
from evbus_like.kafka.unreadable import UnreadableRecord, unpack
from tests.unit.records import PLACE, batch, fetched, sealed

ENCODE = {1: codec.gzip_encode, 2: codec.snappy_encode, 3: codec.lz4_encode, 4: codec.zstd_encode}


@pytest.mark.parametrize("kind", ENCODE)
@pytest.mark.parametrize("size", [10, 100_000, 3_000_000])
def test_what_fits_is_let_through(kind, size):
    text = bytes(range(256)) * (size // 256) + b"x"
    assert not compression.too_large(kind, ENCODE[kind](text))


@pytest.mark.parametrize("kind", [1, 3, 4])
def test_a_bomb_is_noticed(kind, monkeypatch):
    monkeypatch.setattr(compression, "MOST", 4_000_000)
    assert compression.too_large(kind, ENCODE[kind](b"\0" * 6_000_000))
    assert not compression.too_large(kind, ENCODE[kind](b"\0" * 3_000_000))


def test_a_bomb_in_several_members_is_noticed(monkeypatch):
    monkeypatch.setattr(compression, "MOST", 4_000_000)
    assert compression.too_large(1, gzip.compress(b"\0" * 3_000_000) * 2)


@given(kind=some.sampled_from([1, 2, 3, 4, 7]), data=some.binary(max_size=200), cut=some.integers(0, 100))
def test_whatever_is_compressed_or_not_has_an_answer(kind, data, cut):
    for each in (data, ENCODE.get(kind, bytes)(data), ENCODE.get(kind, bytes)(data)[:cut]):
        assert compression.too_large(kind, each) in (True, False)


def test_a_batch_that_is_a_bomb_is_unreadable_and_the_next_is_read(monkeypatch):
    monkeypatch.setattr(compression, "MOST", 1_000_000)
    plain = batch({"value": b"\0" * 2_000_000}, {})
    content = codec.gzip_encode(plain[61:])
    raw = plain[:8] + struct.pack(">i", 49 + len(content)) + plain[12:21] + b"\0\1" + plain[23:61] + content
    raw = sealed(raw) + batch({}, base=2)
    bad, good = list(unpack(fetched(raw), raw, {PLACE: 0}))
    assert isinstance(bad, UnreadableRecord)
    assert "larger than 1000000 bytes" in bad.problem
    assert (bad.offset, good.offset) == (1, 2)
