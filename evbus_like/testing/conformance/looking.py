"""Sources, part five: looks at dead letters, as `evbus dead` lists, replays and removes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from evbus_like.engine.errors import DeliveryError
from evbus_like.engine.receiving.look import FoundLetter, Look
from evbus_like.engine.receiving.rules import REJECT
from evbus_like.hub.profiles.plan import takers
from evbus_like.hub.profiles.source import PluginSource
from evbus_like.testing.conformance.failing import DEADLINE, failure, listed
from evbus_like.testing.conformance.source_suite import Bench, SourceSuite
from evbus_like.testing.conformance.source_target import SourceTarget

TICK = 0.2  # seconds between two looks


class Looking(SourceSuite):
    """What `dead_letters` of a plugin finds, and what can be done with it."""

    async def test_a_look_shows_each_dead_letter_with_its_reason_and_leaves_it_there(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        self.needs("dead_letters")
        async with self.bench(target, tmp_path) as bench:
            ship = await self._given_up(bench, "one", "two", "three")
            for _ in range(2):
                letters = await _found(bench, ship, 3)
                assert {letter.body for letter in letters} == {b'"one"', b'"two"', b'"three"'}
                assert {(letter.owner, letter.routing_key) for letter in letters} == {("shipping.ship", "placed")}
                assert all("Failed: attempt 1" in letter.reason for letter in letters)
                assert len({letter.name for letter in letters}) == 3
                if self.features.headers:
                    assert {letter.id for letter in letters} == {"id-1", "id-2", "id-3"}
                    assert {letter.headers["shop"] for letter in letters} == {"north"}

    async def test_a_look_where_nothing_was_given_up_finds_nothing(self, target: SourceTarget, tmp_path: Path) -> None:
        self.needs("dead_letters")
        async with self.bench(target, tmp_path) as bench, looking(bench, bench.handler()) as look:
            assert look is None or [page async for page in look.pages() if page] == []

    async def test_a_removed_dead_letter_is_gone_and_the_others_stay(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        self.needs("dead_letters")
        async with self.bench(target, tmp_path) as bench:
            ship = await self._given_up(bench, "one", "two", "three")
            await _found(bench, ship, 3)
            async with looking(bench, ship) as look:
                assert look is not None
                async for page in look.pages():
                    gone = [letter for letter in page if letter.body == b'"two"']
                    assert await look.remove(gone) == [""] * len(gone)
            assert {letter.body for letter in await _found(bench, ship, 2)} == {b'"one"', b'"three"'}

    async def test_a_replayed_dead_letter_leaves_and_is_handled_again_by_its_own_handler_alone(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        self.needs("dead_letters")
        async with self.bench(target, tmp_path) as bench:
            mended, pack = bench.gate("mended"), bench.handler("pack", "packing")
            ship = bench.handler(fail=str(mended), on_error=REJECT)
            worker = await bench.worker(ship, pack)
            await bench.send("one", "two")
            await _found(bench, ship, 2)
            mended.touch()
            async with looking(bench, ship) as look:
                assert look is not None
                async for page in look.pages():
                    assert list(await look.replay(page, "")) == [""] * len(page)
            await bench.handled_once(["one", "two", "one", "two"], worker)
            done = [(note["handler"], note["body"]) for note in worker.notes("done")]
            assert sorted(done) == [("pack", "one"), ("pack", "two"), ("ship", "one"), ("ship", "two")]
            if self.features.headers:
                assert {note["id"] for note in worker.notes("done")} == {"id-1", "id-2"}
            await _found(bench, ship, 0)

    async def _given_up(self, bench: Bench, *bodies: str) -> dict[str, Any]:
        """Let a handler give up events with these bodies, and return its description."""
        ship = bench.handler(fail="always", on_error=REJECT)
        worker = await bench.worker(ship)
        await bench.send(*bodies, headers={"shop": "north"})
        await worker.noted("failed", len(bodies))
        return ship


@asynccontextmanager
async def looking(bench: Bench, handler: dict[str, Any]) -> AsyncIterator[Look | None]:
    """Yield a look at a handler's dead letters, over a connection of its own."""
    target = bench.target
    plugin = takers(target.hub, "egress")[target.provider][0]
    if "dead_letters" not in plugin._funcs:
        raise failure(f"the plugin {plugin.__name__} has no dead_letters(); write it, or declare dead_letters=False")
    source = PluginSource(target.hub, plugin, target.provider, "default", target.profile())
    async with source.dead_letters(bench.subscription(handler)) as look:
        yield look


async def _found(bench: Bench, handler: dict[str, Any], count: int) -> list[FoundLetter]:
    """Look until there are `count` dead letters, and return them; fails after a minute."""
    letters: list[FoundLetter] = []
    for _ in range(int(DEADLINE / TICK)):
        try:
            async with looking(bench, handler) as look:
                letters = [] if look is None else [letter async for page in look.pages() for letter in page]
        except DeliveryError:  # such as a queue that was made a moment ago
            letters = []
        else:
            if len(letters) == count:
                return letters
        await asyncio.sleep(TICK)
    found = listed([letter.body or b"" for letter in letters]) or "nothing"
    raise failure(f"waited {DEADLINE:g} s until a look finds {count} dead letters; it found {len(letters)}: {found}")
