"""Sources, part three: what a handler says of its failures and of what it wants."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from time import time
from typing import Any

from evbus_like.engine.expiry import EXPIRES
from evbus_like.testing.conformance.source_suite import SourceSuite, numbered
from evbus_like.testing.conformance.source_target import SourceTarget


class Deciding(SourceSuite):
    """Rules for exceptions, exceptions that decide, second-level retries, and filters."""

    async def test_the_first_rule_that_matches_the_exception_says_what_becomes_of_the_event(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler(
                fail="always",
                raises={"slow": "TimeoutError", "bad": "ValueError", "odd": "KeyError"},
                only=["slow", "bad", "odd"],
                rules=[("TimeoutError", None, {"attempts": 3}), ("ValueError", "reject", {}), ("OSError", None, {})],
                attempts=2,
                backoff=0.1,
            )
            worker = await bench.worker(ship)
            await bench.send("slow", "bad", "odd", "good")
            assert len(await bench.dead(ship, 3)) == 3
            await bench.handled_once(["good"], worker)
        failed = [note["body"] for note in worker.notes("failed")]
        assert {body: failed.count(body) for body in failed} == {"slow": 3, "bad": 1, "odd": 2}

    async def test_a_handler_says_by_what_it_raises_that_its_event_is_retried_rejected_or_requeued(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            mended = bench.gate("mended")
            ship = bench.handler(
                fail=str(mended),
                raises={"later": "Retry 1", "bad": "Reject no such order", "again": "Requeue"},
                only=["later", "bad", "again"],
                backoff=30.0,
                attempts=1000,
            )
            worker = await bench.worker(ship)
            await bench.send("later")
            await bench.send("bad")
            (record,) = await bench.dead(ship, 1)
            await bench.send("again")
            await worker.noted("failed", 5)
            mended.touch()
            await bench.handled_once(["later", "again"], worker)
            tries = [note for note in worker.notes("begun") if note["body"] == "later"]
        assert record.body == b'"bad"'
        if self.features.headers:
            assert _text(record.headers["evbus-dead-reason"]) == "rejected: no such order"
        waits = [after["time"] - before["time"] for before, after in pairwise(tries)]
        assert waits
        assert min(waits) >= 0.9  # less the resolution of the clocks

    async def test_after_its_quick_attempts_an_event_is_retried_after_each_of_the_later_delays(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        self.needs("delays")
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler(fail="always", only=["bad"], attempts=2, backoff=0.1, later=[1, 2], prefetch=1)
            worker = await bench.worker(ship)
            await bench.send("bad", "good")
            await bench.handled_once(["good"], worker)  # though the other one has the only place of the prefetch
            (record,) = await bench.dead(ship, 1)
            tries = [note for note in worker.notes("begun") if note["body"] == "bad"]
        assert [note["attempt"] for note in tries] == [1, 2, 3, 4]
        waits = [after["time"] - before["time"] for before, after in pairwise(tries)]
        assert waits[1] >= 0.9  # less the resolution of the clocks
        assert waits[2] >= 1.9
        if self.features.headers:
            assert _text(record.headers["evbus-dead-attempts"]) == "4"

    async def test_an_event_that_waits_for_a_later_attempt_survives_a_kill_of_worker_and_source(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        self.needs("delays", "processes", "survives_restart")
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler(fail=[1], attempts=1, later=[3])
            first = await bench.worker(ship)
            await bench.send("x")
            await first.noted("failed")
            await bench.send("y")
            await first.noted("failed", 2)
            await first.stop()  # both wait at the source now
            await target.kill()
            await target.start()
            second = await bench.worker(ship)
            await bench.handled_once(["x", "y"], second)
            assert {note["attempt"] for note in second.notes("begun")} == {2}

    # ---- filters

    async def test_an_event_that_the_filter_does_not_want_is_acknowledged_without_a_call_and_counted(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler(where=["good"])
            worker = await bench.worker(ship)
            await bench.send("bad", "good", "worse", "good")
            await bench.handled_once(["good", "good"], worker)
            await worker.stop()
            ((note,),) = [each["status"].values() for each in worker.notes("stopped")]
            assert (note["received"], note["handled"], note["filtered"], note["failed"]) == (4, 2, 2, 0)
            # They are gone: the next worker, which wants everything, gets none of them
            again = await bench.worker(bench.handler())
            await bench.send("last")
            await bench.handled_once(["last"], again)

    # ---- expiry

    async def test_an_event_that_has_expired_is_acknowledged_without_a_call_and_counted(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        self.needs("headers")
        async with self.bench(target, tmp_path) as bench:
            worker = await bench.worker(bench.handler())
            await bench.send("late", headers={EXPIRES: 1})
            await bench.send("in time", headers={EXPIRES: round(time() * 1000) + 3_600_000})
            await bench.send("no moment", headers={EXPIRES: "soon"})
            await bench.handled_once(["in time", "no moment"], worker)
            await worker.stop()
            ((note,),) = [each["status"].values() for each in worker.notes("stopped")]
            assert (note["received"], note["handled"], note["expired"], note["failed"]) == (3, 2, 1, 0)

    async def test_an_event_that_expires_while_it_waits_for_its_retry_is_not_handled_again(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        self.needs("headers")
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler(fail="always", only=["short"], attempts=1000)
            worker = await bench.worker(ship)
            await bench.send("short", headers={EXPIRES: round(time() * 1000) + 5000})
            await worker.noted("failed")
            await asyncio.sleep(5)  # by then it is due again, whatever comes first
            await bench.send("last")
            await bench.handled_once(["last"], worker)
            tries = len(worker.notes("failed"))
            await bench.send("the very last")
            await bench.handled_once(["last", "the very last"], worker)
            assert len(worker.notes("failed")) == tries
            assert await target.dead_letters(bench.subscription(ship)) == []
            await worker.stop()
            ((note,),) = [each["status"].values() for each in worker.notes("stopped")]
            assert (note["handled"], note["expired"], note["dead"]) == (2, 1, 0)

    # ---- pause and breaker

    async def test_a_paused_handler_gives_back_what_it_has_not_begun_and_gets_everything_later(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            gate, paused = bench.gate(), bench.gate("paused")
            ship = bench.handler(max_workers=1, prefetch=20, gate=str(gate), pause=str(paused))
            worker = await bench.worker(ship)
            await bench.send(*numbered(10))
            await worker.noted("begun")
            paused.touch()
            await worker.noted("pausing")
            gate.touch()
            await worker.noted("paused")
            assert len(worker.bodies()) == 1
            paused.unlink()
            await bench.handled_once(numbered(10), worker)

    async def test_a_breaker_stops_the_handler_in_an_outage_which_costs_no_attempt_and_no_event(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            mended = bench.gate("mended")
            breaker = {"failures": 0.5, "window": 60, "pause": 0.5, "at_least": 3}
            ship = bench.handler(fail=str(mended), breaker=breaker, attempts=4, backoff=0.1, max_workers=2)
            worker = await bench.worker(ship)
            await bench.send(*[f"event {number}" for number in range(8)])
            await worker.noted("failed", 8)  # more than opens it: one after each pause
            times = [note["time"] for note in worker.notes("begun")][5:8]
            mended.touch()
            await bench.handled_once([f"event {number}" for number in range(8)], worker)
            assert (
                min(later - earlier for earlier, later in pairwise(times)) >= 0.4
            )  # less the resolution of the clocks
            assert await target.dead_letters(bench.subscription(ship)) == []

    # ---- rates

    async def test_a_handler_gets_no_more_events_than_its_rate_says_and_waiting_costs_no_attempt(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            worker = await bench.worker(bench.handler(rate="20/s", attempts=1))
            await bench.send(*numbered(30))
            await bench.handled_once(numbered(30), worker)
            begun = worker.notes("begun")
        assert {note["attempt"] for note in begun} == {1}
        times = [note["time"] for note in begun]
        assert all(later - earlier >= (10 - 1 - 1) / 20 for earlier, later in zip(times, times[10:], strict=False))

    async def test_a_sender_that_floods_does_not_starve_the_others_of_a_shared_rate(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler(rate="20/s", rate_by="sender")
            first = await bench.worker({**ship, "options": {**ship["options"], "rate": "1/h"}})
            await bench.send("one to begin with", key="x")
            await first.noted("done")
            for number in range(100):
                await bench.send({"sender": "flood", "number": number}, key=f"flood {number}")
            for number in range(3):
                await bench.send({"sender": "quiet", "number": number}, key=f"quiet {number}")
            await first.stop()
            second = await bench.worker(ship)
            quiet = [{"sender": "quiet", "number": number} for number in range(3)]
            await bench.handled(quiet, second)
            assert second.bodies().index(quiet[-1]) < 60


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
