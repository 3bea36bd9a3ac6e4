"""`evbus tail --follow-dead`: show dead letters as they come, from every place that `evbus dead ls` looks at."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from evbus_like.cli import common, console, output, shown
from evbus_like.cli.dead import dead_letter, places, which
from evbus_like.cli.dead.groups import first_line
from evbus_like.cli.dead.places import OUTBOX, Place
from evbus_like.engine.errors import EvbusError
from evbus_like.engine.receiving.look import FoundLetter
from evbus_like.hub.secrets import redact

EVERY = 2.0  # seconds between two looks


async def run(hub: Any, count: int | None) -> int:
    """Show the letters that come from now on until a signal, or until so many have come."""
    found = await places.find(hub, which.Choice())
    follower = Follower(found.found)
    for name, reason in found.unlooked.items():
        print(f"evbus tail: not looked at: {shown.visible(f'{name}: {reason}')}", file=sys.stderr)
    left = count
    async with common.signals() as stopped:
        await common.unless_stopped(stopped, follower.new())
        where = "; ".join(map(str, found.found)) or "no place"
        print(f"evbus tail: dead letters of {where}; Ctrl-C stops", file=sys.stderr, flush=True)
        while not stopped.is_set():
            await common.unless_stopped(stopped, asyncio.sleep(EVERY))
            for place, letter in await common.unless_stopped(stopped, follower.new()) or ():
                show(place, letter, bool(hub.OPT.evbus_like.json))
                left = None if left is None else left - 1
                if left == 0 or output.cannot_be_written():
                    return 0
    return 0 if count is None else 128 + int(getattr(stopped, "number", 0))


def show(place: Place, letter: FoundLetter, as_json: bool) -> None:
    """Print a letter in one line."""
    if as_json:
        console.line(dead_letter.as_dict(letter, place))
        return
    parts = (shown.clock(letter.died or 0), letter.owner, letter.routing_key, letter.name, first_line(letter.reason))
    print(" ".join(shown.visible(part) for part in parts), file=output.results(), flush=True)


class Follower:
    """Knows which letters were there at the look before; places that did not change are not looked through."""

    def __init__(self, found: Sequence[Place]) -> None:
        self._places = found
        self._known: dict[Place, set[int]] = {}  # hashes, as there may be millions
        self._counts: dict[Place, int] = {}
        self._troubles: dict[Place, str] = {}

    async def new(self) -> list[tuple[Place, FoundLetter]]:
        """Return the letters that came since the look before."""
        came = []
        for place in self._places:
            try:
                came += [(place, letter) for letter in await self._new(place)]
                self._troubles.pop(place, None)
            except (EvbusError, TimeoutError) as error:  # it is looked at again
                trouble = redact(str(error)) or "no answer within the profile's timeout"
                if self._troubles.get(place) != trouble:
                    self._troubles[place] = trouble
                    print(f"evbus tail: {place}: {shown.visible(trouble)}", file=sys.stderr, flush=True)
        return came

    async def _new(self, place: Place) -> list[FoundLetter]:
        there, came = set[int](), list[FoundLetter]()
        before = self._known.get(place)
        async with place.look() as look:
            if look is not None:
                if place.source != OUTBOX and look.expected == self._counts.get(place):
                    return []
                expected = look.expected
                async for page in look.pages():
                    for letter in page:
                        key = hash((letter.name, letter.id, letter.died))
                        if before is not None and key not in before and key not in there:
                            letter.body = None
                            came.append(letter)
                        there.add(key)
                if not look.unseen:
                    self._counts[place] = expected
        whole = look is None or not look.unseen
        self._known[place] = there | (set() if whole else before or set())
        return came
