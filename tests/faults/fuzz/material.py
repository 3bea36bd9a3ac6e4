"""Random bodies, content types and headers, as other people's programs and attackers send them."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from typing import Any

import msgpack

TEXTS = ("", "a", "placed", "x" * 255, "ä€𐍈", "\x00", "null", "../../etc", "%s%n", "#", "*.*", "0" * 300)
NUMBERS = (0, 1, -1, 255, 2**31, 2**53 + 1, 2**63 - 1, -(2**63))
TYPES = (
    *("application/json", "application/json; charset=utf-8", "application/json;charset=utf-16", "text/plain"),
    *("text/plain; charset=latin-1", "text/plain; charset=nonsense", "application/x-msgpack", "application/msgpack"),
    *("application/yaml", "application/octet-stream", "application/vnd.shop+json", "application/x-python-serialize"),
    *("", "/", ";;;", "application/" + "x" * 200, "APPLICATION/JSON"),
)
ENCODINGS = ("", "utf-8", "gzip", "deflate", "br", "gzip, gzip", "identity", "binary", "nonsense")
HEADERS = (
    *("evbus-attempt", "evbus-routing-key", "evbus-dead-reason", "evbus-cut", "evbus-id", "evbus-hops", "evbus-type"),
    *("evbus-source", "evbus-service", "x-delivery-count", "x-death", "x-first-death-queue", "correlation-id"),
    *("causation-id", "traceparent", "tracestate", "nameko.call_id_stack", "nameko.user", "nameko.language", "own"),
    *("content-encoding", "compression", "", "x" * 128),
)


class Material:
    """Makes one random thing after another; the same seed makes the same things."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._bomb = zlib.compress(b"0" * 3_000_000, 9)

    def body(self) -> bytes:
        """Return a body: valid, almost valid, or nothing of the kind."""
        chance = self.random
        kind = chance.randrange(14)
        if kind < 3:
            return json.dumps(self.value()).encode()
        if kind == 3:
            return json.dumps({"args": self.arguments(), "kwargs": self.value()}).encode()
        if kind == 4:
            return json.dumps({"args": [self.value()], "kwargs": {}}).encode()
        if kind == 5:
            whole = json.dumps(self.value()).encode()
            return whole[: chance.randrange(len(whole) + 1)]
        if kind == 6:
            return chance.choice((b"[", b'{"a":', b"[[{", b"\x91", b"- ")) * chance.randrange(1, 3000)
        if kind == 7:
            packed: bytes = msgpack.packb(self.value(), default=str)
            return packed
        if kind == 8:
            return chance.choice((gzip.compress(b'{"a": 1}'), self._bomb, gzip.compress(b"x")[:-4]))
        if kind == 9:
            return chance.choice(
                (b"1" * 400, b"1e999", b"NaN", b"-", b'"\\ud800"', b"1:59" * 50, b"&a [*a, *a]", b"!!x")
            )
        if kind == 10 and chance.random() < 0.02:
            return chance.randbytes(chance.randrange(300_000))
        return chance.randbytes(chance.randrange(100))

    def arguments(self) -> Any:
        """Return what may stand for the arguments of a request."""
        return self.random.choice(([], [1], [self.value()], {}, None, "x", [[]] * 30))

    def value(self, depth: int = 3) -> Any:
        """Return plain data."""
        chance = self.random
        kind = chance.randrange(9 if depth else 6)
        if kind < 2:
            return chance.choice(TEXTS)
        if kind < 4:
            return chance.choice(NUMBERS)
        if kind < 6:
            return chance.choice((None, True, False, 1.5, -0.0, 1e300))
        if kind < 8:
            return [self.value(depth - 1) for _ in range(chance.randrange(4))]
        return {chance.choice(TEXTS): self.value(depth - 1) for _ in range(chance.randrange(4))}

    def headers(self) -> dict[str, Any]:
        """Return headers, now and then as many as a frame holds."""
        chance = self.random
        found = {chance.choice(HEADERS): self.value() for _ in range(chance.choice((0, 0, 1, 2, 6)))}
        if chance.random() < 0.003:
            found[chance.choice(("own", "nameko.user", "correlation-id"))] = "x" * chance.randrange(100_000, 130_000)
        return found

    def content_type(self) -> str:
        """Return a content type."""
        return self.random.choice(TYPES)

    def encoding(self) -> str:
        """Return a content encoding."""
        return self.random.choice(ENCODINGS)
