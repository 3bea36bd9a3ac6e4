"""The cost of the bounds of received bodies: time and memory of the dearest bodies that are still decoded.

`python -m benchmarks.decoding` prints one line for each format and form; each runs in a process of its own.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from pathlib import Path

import msgpack

from evbus_like.engine.receiving.received import BadBody, ReceivedEvent
from evbus_like.engine.yaml_text import MAX_ELEMENTS
from evbus_like.hub import decoding
from evbus_like.testing import new_hub

MOST, ELEMENTS = decoding.MAX_BYTES, decoding.MAX_ELEMENTS
DEEP = {"json": 1000, "msgpack": 1000, "yaml": 250}  # levels
TYPES = {"json": "application/json", "msgpack": "application/msgpack", "yaml": "application/yaml"}
FORMS = ("one text", "deep", "numbers", "keys", "texts", "compressed")


def body(name: str, form: str) -> bytes:
    """Return the largest body of a form that a format's bounds allow, or nearly so."""
    most = (MAX_ELEMENTS if name == "yaml" else ELEMENTS) - 10
    if form == "deep":
        return b"\x91" * DEEP[name] + b"\xc0" if name == "msgpack" else b"[" * DEEP[name] + b"]" * DEEP[name]
    data = {
        "one text": lambda: "x" * (MOST - 100),
        "compressed": lambda: "x" * (MOST - 100),
        "numbers": lambda: list(range(10**9, 10**9 + most)),
        "keys": lambda: {f"key{number}": number for number in range(most // 2)},
        "texts": lambda: ["x" * (MOST // most - 5)] * most,
    }[form]()
    return bytes(msgpack.packb(data)) if name == "msgpack" else json.dumps(data, separators=(",", ": ")).encode()


def measure(name: str, form: str, raw: bytes) -> str:
    """Decode one body; return a line with its size, the time that it took, and the memory that it took at most."""
    decode = decoding.decoder(new_hub(), (name,))
    decode(ReceivedEvent(b"\xc0" if name == "msgpack" else b"1", "k", content_type=TYPES[name]))  # imports
    encoding = "gzip" if form == "compressed" else ""
    event = ReceivedEvent(raw, "k", content_type=TYPES[name], content_encoding=encoding)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
    before, begun = _memory("VmRSS"), time.perf_counter()
    try:
        value, said = decode(event), ""
    except BadBody as error:
        value, said = None, f"  refused: {error}"
    took, held = time.perf_counter() - begun, _memory("VmHWM") - before
    del value
    return f"{name:8} {form:10} {len(raw) / 2**20:6.1f} MiB {took * 1000:7.1f} ms {held:6.1f} MiB{said}"


def _memory(kind: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(kind)).split()[1]) / 1024


def main() -> int:
    """Run as a program."""
    if sys.argv[1:]:
        print(measure(sys.argv[1], sys.argv[2], sys.stdin.buffer.read()))
        return 0
    for name in TYPES:
        for form in FORMS:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.decoding", name, form],
                input=gzip.compress(body(name, form)) if form == "compressed" else body(name, form),
                check=True,
                stdout=subprocess.PIPE,
            )
            print(done.stdout.decode(), end="", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
