"""How large a compressed batch becomes: a megabyte may hold gigabytes, which would kill the worker.

aiokafka decompresses a batch as a whole. So its size is bounded before that, at little cost: formats with blocks tell
how many there are, and gzip, which has none, is counted only where its bytes could be enough.
"""

from __future__ import annotations

import struct
import zlib

MOST = 128 * 1024 * 1024  # bytes of a decompressed batch; Kafka's brokers take compressed ones of 1 MiB by default
GZIP_RATIO = 1032  # at most (https://www.zlib.net/zlib_tech.html)
STEP = 1024 * 1024
GZIP, LZ4, ZSTD = 1, 3, 4  # the batch attributes of Kafka's record format, version 2

ZSTD_MAGIC, ZSTD_BLOCK = 0xFD2FB528, 128 * 1024  # RFC 8878, 3.1.1
LZ4_MAGIC = 0x184D2204  # https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md
LZ4_BLOCKS = {4: 64 * 1024, 5: 256 * 1024, 6: 1024 * 1024, 7: 4 * 1024 * 1024}


def too_large(codec: int, data: bytes | memoryview) -> bool:
    """Whether a batch may become larger than `MOST`; False also for data that is not of its codec."""
    try:
        if codec == GZIP:
            return len(data) * GZIP_RATIO > MOST and _gzip_exceeds(data)
        if codec == ZSTD:
            return _zstd_bound(data) > MOST
        return codec == LZ4 and len(data) * 255 > MOST and _lz4_bound(data) > MOST
    except (zlib.error, struct.error, KeyError, IndexError):
        return False


def _gzip_exceeds(data: bytes | memoryview) -> bool:
    size, left = 0, bytes(data)
    while left and size <= MOST:
        reader = zlib.decompressobj(31)
        while not reader.eof and size <= MOST:
            made = len(reader.decompress(left, STEP))
            if not made and not reader.eof:
                return False  # it ends too early
            size, left = size + made, reader.unconsumed_tail
        left = reader.unused_data
    return size > MOST


def _zstd_bound(data: bytes | memoryview) -> int:
    """Add up what the blocks of all frames can become."""
    bound, at = 0, 0
    while at + 5 <= len(data):
        magic, descriptor = struct.unpack_from("<IB", data, at)
        if magic & 0xFFFFFFF0 == 0x184D2A50:  # a frame to skip
            at += 8 + struct.unpack_from("<I", data, at + 4)[0]
            continue
        if magic != ZSTD_MAGIC:
            return bound
        single = descriptor >> 5 & 1
        at += 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3] + (single, 2, 4, 8)[descriptor >> 6]
        last = 0
        while not last:
            block = int.from_bytes(data[at : at + 3], "little") if at + 3 <= len(data) else None
            if block is None:
                return bound
            last, kind, size = block & 1, block >> 1 & 3, block >> 3
            bound += ZSTD_BLOCK if kind == 2 else size
            at += 3 + (1 if kind == 1 else size)
        at += 4 * (descriptor >> 2 & 1)  # a checksum
    return bound


def _lz4_bound(data: bytes | memoryview) -> int:
    bound, at = 0, 0
    while at + 7 <= len(data):
        magic, flags, descriptor = struct.unpack_from("<IBB", data, at)
        if magic != LZ4_MAGIC:
            return bound
        at += 7 + 8 * (flags >> 3 & 1) + 4 * (flags & 1)
        most = LZ4_BLOCKS[descriptor >> 4 & 7]
        while size := struct.unpack_from("<I", data, at)[0]:
            stored, size = size >> 31, size & 0x7FFFFFFF
            bound += size if stored else min(255 * size, most)
            at += 4 + size + 4 * (flags >> 4 & 1)
        at += 4 + 4 * (flags >> 2 & 1)
    return bound
