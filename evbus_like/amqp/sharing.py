"""Shares the shards of a handler out among its workers: each decides by what all of them announce."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple


class Member(NamedTuple):
    """A worker: its id, the numbers of the shards that it reads, and how many shards it knows of."""

    id: str
    shards: frozenset[int]
    known: int


def to_take(me: Member, others: Collection[Member], free_for_long: Collection[int] = ()) -> list[int]:
    """Return the shards that nobody reads and that this worker has to take.

    `free_for_long` are those that nobody took although it was somebody's turn.
    """
    free, _ = _assigned([me, *others], me.known)
    return [shard for shard, id in free.items() if id == me.id or shard in free_for_long]


def to_give(me: Member, others: Collection[Member]) -> list[int]:
    """Return the shards that this worker has to give up: it has the most, and another will have at least two fewer.

    One worker at a time gives up shards, so that they do not all give to the same one.
    """
    _, loads = _assigned([me, *others], me.known)
    mine = loads.pop(me.id)
    if not loads or (mine, me.id) < max((load, id) for id, load in loads.items()):
        return []
    load, least = min((load, id) for id, load in loads.items())
    known = next(each.known for each in others if each.id == least)
    fitting = sorted(shard for shard in me.shards if shard < known)
    count = (mine - load) // 2
    return fitting[-count:] if count > 0 else []


def _assigned(members: Collection[Member], known: int) -> tuple[dict[int, str], dict[str, int]]:
    """Assign each free shard to the worker with the fewest; returns them, and how many each worker then has.

    All workers come to the same result.
    """
    loads = {each.id: len(each.shards) for each in members}
    taken = frozenset().union(*(each.shards for each in members))
    free: dict[int, str] = {}
    for shard in range(known):
        if shard not in taken:
            free[shard] = min((each.id for each in members if each.known > shard), key=lambda id: (loads[id], id))
            loads[free[shard]] += 1
    return free, loads
