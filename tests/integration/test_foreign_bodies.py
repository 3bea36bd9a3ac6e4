"""Bodies of other programs on real brokers: formats, encodings, and those that are made to fill a worker's memory."""

import gzip
import json
import subprocess
import sys
import zlib

import msgpack
import pytest

from evbus_like.testing import eventually
from tests.integration.raw_records import publish_raw
from tests.integration.receiving import RecordingHandler, handle, receiving
from tests.integration.sources import handler
from tests.integration.sources import receiving as receiving_from
from tests.integration.support import create_topic
from tests.integration.test_amqp_source import publishing

BODY = {"name": "é", "id": 7}
JSON = json.dumps(BODY).encode()

# Body, content type, content encoding: what other programs send.
READABLE = [
    (JSON, "application/vnd.shop+json", None),
    (gzip.compress(JSON), "application/json", "gzip"),
    (zlib.compress(JSON), "Application/JSON; charset=UTF-8", "deflate"),
    (JSON, "application/json", "utf-8"),
    (json.dumps(BODY, ensure_ascii=False).encode("latin-1"), "application/json", "latin-1"),
    (msgpack.packb(BODY), "application/x-msgpack", "binary"),
    (JSON, None, None),
]
# Body, content type, content encoding, and a part of the reason.
REFUSED = [
    (b"name: x", "application/yaml", None, "the format yaml is not accepted here"),
    (b"1:59" + b":59" * 300_000, "application/x-yaml", None, "the format yaml is not accepted here"),
    (b"18446744073709551616", "application/json", None, "an int beyond 64 bits"),
    (JSON, "application/json", "br", "the content encoding 'br' is unknown"),
    (gzip.compress(b" " * 20_000_000), "application/json", "gzip", "when it is decompressed"),
    (b"\xdd\x00\x0f\xff\xff" + b"\x90" * 0xFFFFF, "application/msgpack", None, "keys and values"),
    (b"[" + b"[]," * 300_000 + b"[]]", "application/json", None, "keys and values"),
]


async def test_bodies_of_other_programs_are_decoded_or_dead_lettered_over_rabbitmq(rabbitmq, fresh_name):
    seen = RecordingHandler()
    profile = {"connection": {"url": rabbitmq.url}, "default_format": "json"}
    async with (
        receiving(profile, handle(seen, fresh_name, "placed")) as worker,
        publishing(rabbitmq.url, fresh_name) as publish,
    ):
        for raw, content_type, encoding in READABLE:
            await publish("placed", raw, content_type=content_type, content_encoding=encoding)
        for raw, content_type, encoding, _ in REFUSED:
            await publish("placed", raw, content_type=content_type, content_encoding=encoding)
        await publish("placed", JSON)
        await seen.wait_for(len(READABLE) + 1)
        await eventually(lambda: worker.stats().dead == len(REFUSED))
    assert seen.bodies == [BODY] * (len(READABLE) + 1)
    assert {event.content_encoding for event in seen.events} >= {"", "gzip", "utf-8"}


async def test_bodies_of_other_programs_are_decoded_or_dead_lettered_over_kafka(kafka, fresh_name, caplog):
    topic, events = f"{fresh_name}.events", []
    await create_topic(kafka.bootstrap, topic, partitions=1)
    records = []
    for raw, content_type, encoding, *_ in (*READABLE, *REFUSED[2:4], READABLE[0]):
        headers = [("evbus-routing-key", b"created")]
        headers += [("content-type", content_type.encode())] if content_type else []
        headers += [("content-encoding", encoding.encode())] if encoding else []
        records.append((b"k", raw, headers))

    async def take(event):
        events.append(event.body)

    profiles = {"kafka": {"default": {"connection": {"bootstrap_servers": kafka.bootstrap}, "default_format": "json"}}}
    async with receiving_from(profiles, handler(take, fresh_name)):
        await publish_raw(kafka.bootstrap, topic, records)
        await eventually(lambda: len(events) == len(READABLE) + 1)
    assert events == [BODY] * (len(READABLE) + 1)
    assert "an int beyond 64 bits" in caplog.text
    assert "the content encoding 'br' is unknown" in caplog.text


BOMBS = """
import gzip, os, resource, sys, time
from evbus_like.engine.receiving.received import BadBody, ReceivedEvent
from evbus_like.hub import decoding
from evbus_like.testing.running import new_hub

MIB = 1024 * 1024
decode = decoding.decoder(new_hub(), ("json", "msgpack", "yaml", "str"))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 400 * MIB,) * 2)
M = 15 * MIB
bodies = [
    ("application/msgpack", lambda: b"\\xdd\\x00\\xef\\xff\\xfb" + b"\\x90" * 0xEFFFFB),
    ("application/msgpack", lambda: b"\\x91" * M),
    ("application/msgpack", lambda: (b"\\xdd\\x00\\x00\\xff\\xff" + b"\\xa2ab" * 0xFFFE) * 75),
    ("application/msgpack", lambda: b"\\xdd\\x0f\\xff\\xff\\xff" * 1000),
    ("application/msgpack", lambda: b"\\xdf\\x0f\\xff\\xff\\xff" * (M // 5)),
    ("application/json", lambda: b"[" + b"[]," * (M // 3)),
    ("application/json", lambda: b"[" * M),
    ("application/json", lambda: b"1" * M),
    ("application/json", lambda: b'["' + b'\\\\"' * (M // 2)),
    ("application/json", lambda: b'{"":' * (M // 4)),
    ("application/json", lambda: b'"",' * (M // 3)),
    ("application/yaml", lambda: b"1:59" + b":59" * (M // 3)),
    ("application/yaml", lambda: b"[" + b"[]," * (M // 3)),
    ("application/yaml", lambda: b"- " * (M // 2)),
    ("application/yaml", lambda: b"a: " + b"9" * M),
    ("application/yaml", lambda: b"&a [*a]"),
    ("application/yaml", lambda: b"%TAG !a! b\\n" * (M // 11)),
    ("text/plain; charset=utf-16", lambda: b"\\xff\\xfe" + b"\\x00" * M),
    ("text/plain; charset=idna", lambda: b"xn--a" * (M // 5)),
]
for content_type, make in bodies:
    raw = make()
    began = time.monotonic()
    try:
        decode(ReceivedEvent(raw, content_type=content_type))
        what = "value"
    except BadBody as error:
        what = str(error)[:60]
    print(f"{time.monotonic() - began:.2f} s", content_type, raw[:12], what, flush=True)
    assert time.monotonic() - began < 30
bomb = b" " * M
for _ in range(3):
    bomb = gzip.compress(bomb)
try:
    decode(ReceivedEvent(gzip.compress(b" " * 40 * MIB), content_type="application/json", content_encoding="gzip"))
except BadBody:
    print("done")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_bodies_that_are_made_to_fill_the_memory_are_decoded_or_refused_in_400_mib():
    done = subprocess.run([sys.executable, "-c", BOMBS], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.endswith("done\n")
