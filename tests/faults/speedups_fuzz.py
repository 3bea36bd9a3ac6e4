"""Fuzz the functions in C, built with sanitizers: `python -m tests.faults.speedups_fuzz [--minutes 10]`.

Each result is compared with that of the twin in Python. Bad types and sizes must be errors, never a crash: a finding of
AddressSanitizer or UndefinedBehaviorSanitizer ends the process with its report.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from time import monotonic
from typing import Any

from evbus_like.engine.event import FIELDS

SOURCES = Path(__file__).parents[2] / "evbus_like" / "speedups"
FLAGS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-shared", "-fPIC")
SCALARS: tuple[Callable[[random.Random], Any], ...] = (
    lambda some: None,
    lambda some: some.choice((True, 1.5, float("nan"), float("inf"), -0.0, 1j, object())),
    lambda some: some.randint(-(2**70), 2**70),
    lambda some: some.randbytes(some.choice((0, 1, 63, 64, 300))),
    lambda some: "é\ud800a"[some.randint(0, 2) :] * some.choice((0, 1, 40)),
    lambda some: some.choice((bytearray(3), frozenset((1,)), int, (), [], {})),
)


def build(folder: Path) -> Path:
    """Build the functions with sanitizers."""
    target = folder / "_built.so"
    include = sysconfig.get_paths()["include"]
    subprocess.run(["cc", *FLAGS, f"-I{include}", *map(str, SOURCES.glob("*.c")), "-o", str(target)], check=True)
    return target


def load(path: str) -> Any:
    """Load what was built."""
    loader = ExtensionFileLoader("_built", path)
    spec = spec_from_loader("_built", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def value(some: random.Random, depth: int = 5) -> Any:
    """Make a body, or what is none."""
    kind = some.randrange(9) if depth else 9
    if kind == 0:
        return [value(some, depth - 1) for _ in range(some.randrange(4))]
    if kind == 1:
        return tuple(value(some, depth - 1) for _ in range(some.randrange(4)))
    if kind == 2:
        return {f"key{number}": value(some, depth - 1) for number in range(some.randrange(4))}
    return some.choice(SCALARS)(some)


def nested(some: random.Random) -> Any:
    """Make a body of some hundred levels."""
    body: Any = some.choice(((), 1.5))
    for _ in range(some.randrange(240, 270)):
        body = some.choice(([body], (body,), {"a": body}))
    return body


def header(some: random.Random) -> Any:
    """Make a header of a record, which is seldom wrong."""
    if not some.randrange(40):
        return value(some, 2)
    names = ("evbus-id", "evbus-routing-key", "content-type", "a", "é" * 80, "")
    return some.choice(names), some.choice((None, b"", b"v", b"\xff", some.randbytes(some.choice((1, 64, 255, 256)))))


def is_header(given: Any) -> bool:
    """Whether aiokafka can give this as a header."""
    return type(given) is tuple and list(map(type, given)) in ([str, bytes], [str, type(None)])


def record(some: random.Random) -> tuple[Any, ...]:
    """Make the arguments of a record, which are seldom wrong."""
    if not some.randrange(40):
        return tuple(value(some, 2) for _ in range(some.randrange(6)))
    payload = some.choice((None, b"", some.randbytes(some.choice((1, 63, 64, 8191, 8192)))))
    return some.randrange(2**61), some.choice((None, b"key")), payload, [header(some) for _ in range(some.randrange(4))]


def batches(built: Any, some: random.Random) -> int:
    """Fill a batch here and with aiokafka; returns how many records were tried."""
    from aiokafka.record.default_records import DefaultRecordBatchBuilder

    limit = some.choice((0, 1, 200, 10_000))
    ours, theirs = built.RecordBatch(limit), DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, limit)
    tried, count = some.randrange(20), 0
    for _ in range(tried):
        given = record(some)
        try:
            took = ours.append(*given)
        except (TypeError, ValueError, OverflowError):
            continue
        assert (took is None) == (theirs.append(count, *given) is None), given
        count += took is not None
        assert (ours.size(), ours.count()) == (theirs.size(), count)
    state = some.choice(((-1, -1, 0), (2**63 - 1, 2**15 - 1, 2**31 - 1)))
    theirs.set_producer_state(*state)
    assert bytes(ours.build(*state)) == bytes(theirs.build())
    return tried


def events(built: Any, some: random.Random) -> int:
    """Make events of any values, change them, and let the collector find those that lead back to themselves."""
    kind: Any = type("Event", (built.EventFields,), {"__slots__": ()})
    names = [name for name in FIELDS if name != "receipt"]
    made: list[Any] = [kind.make("id-", 1, "k", None, "p", None, None, False), kind()]
    for _ in range(some.randrange(20)):
        given = [value(some, 2) for _ in range(6 if some.randrange(10) else some.randrange(9))]
        name: list[Any] = (
            ["a" * some.randrange(45), some.randrange(2**65)] if some.randrange(10) else [value(some, 2), 1]
        )
        try:
            made.append(kind.make(*name, *given))
            made[-1].fill(*name, *reversed(given))
            assert made[-1].routing_key is given[5]
            assert made[-1].id == f"{name[0]}{name[1]:x}"
        except (TypeError, OverflowError):
            right = len(given) == 6 and list(map(type, name)) == [str, int] and name[1] < 2**64
            assert not right or len(name[0]) > 40 or not name[0].isascii()
        setattr(some.choice(made), some.choice(names), some.choice((given, made, b"body", some.choice(made))))
        some.choice(made).attach(some.choice((None, given, made)))
        built.untrack(some.choice((made, given, *given[:1])))
        if not some.randrange(4):
            with suppress(AttributeError):
                delattr(some.choice(made), some.choice(names))
    for event in made:
        event.attach(None)  # from now on it is found
    return 20


def received(built: Any, twins: Any, some: random.Random) -> int:
    """Read records, often damaged ones, here and with the twin; returns how many there were."""
    from aiokafka.record.default_records import DefaultRecordBatchBuilder

    from evbus_like.kafka import records

    builder, count = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 20), some.randrange(1, 6)
    for index in range(count):
        headers = [each for each in (header(some) for _ in range(some.choice((0, 2, 3, 20)))) if is_header(each)]
        payload = some.choice((None, b"", some.randbytes(some.choice((1, 63, 64, 300)))))
        builder.append(index, some.randrange(2**61), some.choice((None, b"key")), payload, headers)
    raw = bytearray(builder.build())
    for _ in range(some.choice((0, 1, 3))):
        raw[some.randrange(61, len(raw))] = some.randrange(256)
    place = some.choice((61, some.randrange(len(raw)))), some.choice((len(raw), some.randrange(61, len(raw) + 1)))
    data, given = bytes(raw), (some.choice((count, 1)), "topic", 3, some.choice((0, 2**62)), 1000, some.choice((-1, 5)))
    if place[0] > place[1]:
        return 0
    ours, twin = built.read(data, *place, *given), twins["read"](data, *place, *given)
    assert (len(ours[0]), ours[1]) == (len(twin[0]), twin[1]), (data, place, given)
    for one, other in zip(ours[0], twin[0], strict=True):
        assert all(getattr(one, name) == getattr(other, name) for name in other._fields), (data, place, given)
        assert one.fields() == records.fields(other.headers), other
    return count


def alike(built: Any, some: random.Random) -> int:
    """Append the records of many events at once; returns how many there were."""
    batch, events = built.RecordBatch(some.choice((1, 300, 10_000))), list[Any]()
    for number in range(some.randrange(9)):
        body = some.randbytes(some.randrange(99))
        event = built.EventFields.make("é"[number % 2 :], number, some.choice("ab"), body, "p", None, None, False)
        event.content_type, event.timestamp = "application/json", 1.5
        if not some.randrange(9):
            setattr(event, some.choice([name for name in FIELDS if name != "receipt"]), value(some, 1))
        if not some.randrange(30):
            del event.id
        events.append(event if some.randrange(40) else value(some, 1))
    with suppress(TypeError, ValueError, OverflowError, AttributeError, UnicodeError):
        batch.extend(events, some.randrange(-1, 9), some.randrange(-1, 9), some.choice((None, b"k", "k")))
    batch.build(-1, -1, 0)
    return len(events)


def fuzz(path: str, seconds: float, seed: int) -> int:
    """Call the functions with random arguments; returns the number of inputs."""
    from evbus_like import speedups
    from evbus_like.engine import values  # noqa: F401 - has a twin
    from evbus_like.kafka import unreadable  # noqa: F401 - has the other

    built, twins, some, end, inputs = load(path), speedups.TWINS, random.Random(seed), monotonic() + seconds, 0
    while monotonic() < end:
        for _ in range(200):
            body = value(some)
            assert built.finite(body) == twins["finite"](body), body
            text = some.choice(
                (some.randbytes(40), b"1" * some.randrange(15, 22), b"[1e-%d, -0.5]" % some.randrange(2000))
            )
            assert built.has_odd_number(text) == twins["has_odd_number"](text), text
        deep = nested(some)
        assert built.finite(deep) == twins["finite"](deep)
        inputs += 401 + sum(
            batches(built, some) + events(built, some) + alike(built, some) + received(built, twins, some)
            for _ in range(20)
        )
    return inputs


def main() -> None:
    """Build, and fuzz in a process that has the sanitizers."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.speedups_fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--built", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.built:
        print(f"{fuzz(asked.built, asked.minutes * 60, asked.seed):,} inputs, seed {asked.seed}: no difference")
        return
    with tempfile.TemporaryDirectory() as name:
        path = build(Path(name))
        library = subprocess.run(["cc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
        # Python itself leaks by design; its own allocator would hide overruns.
        more = {"ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc", "LD_PRELOAD": library.stdout.strip()}
        command = [sys.executable, "-m", __spec__.name, "--built", str(path), "--minutes", str(asked.minutes)]
        raise SystemExit(subprocess.run([*command, "--seed", str(asked.seed)], env={**os.environ, **more}).returncode)


if __name__ == "__main__":
    main()
