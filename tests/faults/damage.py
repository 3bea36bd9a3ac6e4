"""Random damage to an outbox, and a start after each: no wrong body, no silent loss, no start with a traceback.

`python -m tests.faults.damage --rounds 500 --seed 1` prints one line of figures and exits with 1 if anything is wrong.
Some outboxes were closed in order, some are as a kill leaves them: the log, its index and the lock file are there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evbus_like.engine.outbox import Outbox, StorageError
from tests.unit.outboxes import content, make

FILES = ("", "-wal", "-shm", ".lock")
NAMES = (("a",), ("b",), ("a", "b"), ("a", "b", "c"))
PAGE = 4096
Content = tuple[Any, ...]


@dataclass
class Base:
    """An outbox before it is damaged: where its files are, and what waits in it for each destination."""

    folder: Path
    waiting: dict[str, dict[str, Content]]
    known: dict[str, Content]  # all events that ever were in it, by id
    dead: dict[str, Content]


@dataclass
class Results:
    """The figures of all rounds; `wrong` holds what must never happen."""

    rounds: int = 0
    whole: int = 0  # rounds without any loss
    refused: int = 0  # rounds whose start ended with a clear error
    events: int = 0
    lost: int = 0
    again: int = 0  # events that came again though they had been delivered
    damage: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.rounds} rounds: {self.whole} without loss, {self.refused} refused with a clear error;"
            f" {self.events} events, {self.lost} lost and reported, {self.again} delivered ones came again,"
            f" {len(self.wrong)} wrong"
        )


async def make_base(folder: Path, choose: random.Random, killed: bool) -> Base:
    """Make an outbox of some hundred events and dead letters, some of them delivered."""
    work = folder / "work"
    outbox = Outbox(work / "outbox.db")
    outbox.open()
    base = Base(folder, {name: {} for name in "abc"}, {}, {})
    for _ in range(choose.randrange(20, 120)):
        events = [_event(choose) for _ in range(choose.choice((1, 1, 1, 5, 30)))]
        names = choose.choice(NAMES)
        seqs = await outbox.append([(event, names) for event in events])
        for event, seq in zip(events, seqs, strict=True):
            base.known[event.id] = content(event)
            for name in names:
                if choose.random() < 0.3:
                    outbox.settle(name, [seq])
                else:
                    base.waiting[name][event.id] = content(event)
        if choose.random() < 0.1:
            letter = _event(choose)
            await outbox.dead_letter_event("a", letter, "no", "poison", 1)
            base.known[letter.id] = base.dead[letter.id] = content(letter)
    await outbox.flush()
    if not killed:
        await outbox.close()
    for suffix in FILES:
        if (work / f"outbox.db{suffix}").exists():
            shutil.copy(work / f"outbox.db{suffix}", folder / f"outbox.db{suffix}")
    if killed:
        await outbox.close()
    shutil.rmtree(work)
    return base


def _event(choose: random.Random) -> Any:
    size = choose.choice((10, 300, 300, 2000, 9000, 30000))
    return make(choose.randbytes(size // 2).hex().encode(), headers={"n": choose.randrange(1000)})


def damage(path: Path, choose: random.Random) -> str:
    """Damage one of an outbox's files; gives how."""
    files = [f for f in (path.with_name(path.name + suffix) for suffix in FILES[:3]) if f.exists() and f.stat().st_size]
    if not files:  # all are cut to nothing
        return "nothing more"
    file = choose.choice(files)
    data = bytearray(file.read_bytes())
    how = choose.choice(list(WAYS))
    WAYS[how](data, choose)
    file.write_bytes(data)
    return f"{how} {file.name.removeprefix(path.name) or 'database'}"


def _flip(data: bytearray, choose: random.Random) -> None:
    for _ in range(choose.choice((1, 1, 8))):
        data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)


def _garbage(data: bytearray, choose: random.Random) -> None:
    at, size = choose.randrange(len(data)), choose.randrange(1, 5000)
    data[at : at + size] = choose.randbytes(len(data[at : at + size]))


def _zero(data: bytearray, choose: random.Random) -> None:
    at, size = choose.randrange(len(data)), choose.randrange(1, 20_000)
    data[at : at + size] = bytes(len(data[at : at + size]))


def _page(data: bytearray, choose: random.Random) -> None:
    at = choose.randrange(len(data)) // PAGE * PAGE
    data[at : at + PAGE] = choose.choice((bytes, choose.randbytes))(len(data[at : at + PAGE]))


def _cut(data: bytearray, choose: random.Random) -> None:
    del data[choose.choice((0, choose.randrange(len(data)), choose.randrange(len(data)) // PAGE * PAGE)) :]


def _swap(data: bytearray, choose: random.Random) -> None:
    pages = len(data) // PAGE
    if pages > 1:
        one, other = (each * PAGE for each in choose.sample(range(pages), 2))
        data[one : one + PAGE], data[other : other + PAGE] = data[other : other + PAGE], data[one : one + PAGE]


def _repeat(data: bytearray, choose: random.Random) -> None:
    at, source, size = choose.randrange(len(data)), choose.randrange(len(data)), choose.randrange(1, 2 * PAGE)
    part = bytes(data[source : source + size])
    data[at : at + len(part)] = part[: len(data) - at]


WAYS: dict[str, Callable[[bytearray, random.Random], None]] = {
    "bits in": _flip,
    "garbage in": _garbage,
    "zeros in": _zero,
    "a bad page of": _page,
    "a cut": _cut,
    "swapped pages of": _swap,
    "parts repeated in": _repeat,
}


class Errors(logging.Handler):
    """Counts what the outbox reports at ERROR."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count one."""
        self.count += 1


async def one_round(base: Base, choose: random.Random, folder: Path, results: Results) -> None:
    """Copy an outbox, damage it, start and compare."""
    shutil.copytree(base.folder, folder)
    path = folder / "outbox.db"
    done = [damage(path, choose) for _ in range(choose.choice((1, 1, 1, 2, 3)))]
    results.rounds += 1
    results.damage.update(done)
    results.events += sum(map(len, base.waiting.values()))
    log, errors = logging.getLogger("evbus_like.outbox"), Errors()
    log.addHandler(errors)
    try:
        await _compare(base, path, errors, results, f"round {results.rounds}: {', '.join(done)}")
    finally:
        log.removeHandler(errors)
        shutil.rmtree(folder)


async def _compare(base: Base, path: Path, errors: Errors, results: Results, what: str) -> None:
    outbox = Outbox(path)
    try:
        reported = outbox.open() is not None
    except StorageError:
        results.refused += 1
        return
    except Exception as error:
        results.wrong.append(f"{what}: the start failed: {error!r}")
        return
    lost = 0
    try:
        for name, waiting in base.waiting.items():
            found = {event.id: content(event) for _, event in await outbox.page(name, 0, 100_000, 10**9)}
            results.wrong += [f"{what}: a wrong event {id_}" for id_ in found if found[id_] != base.known.get(id_)]
            lost += len(waiting.keys() - found.keys())
            results.again += len(found.keys() - waiting.keys())
        lost += await _compare_dead(base, outbox, results, what)
    except StorageError:
        reported = True
    except Exception as error:
        results.wrong.append(f"{what}: reading failed: {error!r}")
    finally:
        await outbox.close()
    results.lost += lost
    results.whole += not lost
    if lost and not reported and not errors.count:
        results.wrong.append(f"{what}: {lost} events were lost in silence")


async def _compare_dead(base: Base, outbox: Outbox, results: Results, what: str) -> int:
    """Compare the dead letters; gives how many are lost."""
    found = {}
    for letter in await outbox.dead_letters(limit=10_000):
        if letter.kind != "damaged":
            whole = await outbox.read_dead_letter(letter.number)
            found[whole.event.id] = content(whole.event)
    results.wrong += [f"{what}: a wrong dead letter {id_}" for id_ in found if found[id_] != base.known.get(id_)]
    return len(base.dead.keys() - found.keys())


async def run(rounds: int, seed: int, bases: int = 12) -> Results:
    """Run the rounds; the same seed gives the same damage to outboxes of the same kind."""
    choose, results = random.Random(seed), Results()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        made = []
        for number in range(min(bases, rounds)):
            (folder / f"base{number}").mkdir()
            made.append(await make_base(folder / f"base{number}", choose, killed=number % 3 > 0))
        for number in range(rounds):
            await one_round(made[number % len(made)], choose, folder / "round", results)
    return results


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    logging.getLogger("evbus_like").addHandler(logging.NullHandler())
    results = asyncio.run(run(given.rounds, given.seed))
    print(f"damage to the outbox, seed {given.seed}: {results}", file=sys.stderr if given.json else sys.stdout)
    for each in results.wrong[:20]:
        print(f"  {each}", file=sys.stderr)
    if given.json:
        print(json.dumps({**vars(results), "seed": given.seed}))
    return 1 if results.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
