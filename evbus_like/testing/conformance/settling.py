"""Sources, part two: acknowledging, retries, requeues, dead letters, concurrency and the stop."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from evbus_like.engine.receiving.rules import REJECT, REQUEUE, SHUTDOWN
from evbus_like.testing.conformance.source_suite import SourceSuite, numbered
from evbus_like.testing.conformance.source_target import SourceTarget


class Settling(SourceSuite):
    """What happens to an event after its handler."""

    async def test_an_event_is_acknowledged_after_its_handler_returns(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler()
            first = await bench.worker({**ship, "gate": str(bench.gate("never"))}, timeout=0.5)
            await bench.send("x")
            await first.noted("begun")
            await first.stop()  # its timeout expires before the handler returns
            second = await bench.worker(ship)
            await bench.handled_once(["x"], second)
            await second.stop()
            third = await bench.worker(ship)
            await bench.send("y")
            await bench.handled_once(["y"], third)

    async def test_a_failed_event_is_retried_after_a_backoff_and_its_attempts_are_counted(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler(fail=[1, 2], only=["bad"], backoff=0.5, max_backoff=0.5)
            worker = await bench.worker(ship)
            await bench.send("bad", "good")
            await bench.handled(["bad", "good"], worker)
            tries = [note for note in worker.notes("begun") if note["body"] == "bad"]
        assert [note["attempt"] for note in tries] == [1, 2, 3]
        assert {(note["id"], note["routing_key"]) for note in tries} == {(tries[0]["id"], "placed")}
        waits = [after["time"] - before["time"] for before, after in pairwise(tries)]
        assert min(waits) >= 0.2  # half of the backoff, less the resolution of the clocks

    async def test_an_event_that_always_fails_is_dead_lettered_unchanged(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler(fail="always", only=["bad"], attempts=3, backoff=0.1)
            worker = await bench.worker(ship)
            await target.publish(bench.orders, "placed", b' "bad" ', {"shop": "north"}, "the-id")
            await bench.send("good")
            (record,) = await bench.dead(ship, 1)
            await bench.handled_once(["good"], worker)
            assert len(worker.notes("failed")) == 3
        assert record.body == b' "bad" '
        if self.features.headers:
            assert record.id == "the-id"
            assert record.headers["shop"] == "north"
            assert "given up after 3 attempts" in _text(record.headers["evbus-dead-reason"])
            assert _text(record.headers["evbus-dead-attempts"]) == "3"
            assert _text(record.headers["evbus-dead-routing-key"]) == "placed"

    async def test_a_rejected_event_is_dead_lettered_at_once(self, target: SourceTarget, tmp_path: Path) -> None:
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler(fail="always", only=["bad"], on_error=REJECT)
            worker = await bench.worker(ship)
            await bench.send("bad", "good")
            assert len(await bench.dead(ship, 1)) == 1
            await bench.handled_once(["good"], worker)
            assert len(worker.notes("failed")) == 1

    async def test_a_body_that_cannot_be_decoded_is_dead_lettered_and_the_next_event_is_handled(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler()
            worker = await bench.worker(ship)
            odd = b'{"half": '
            await target.publish(bench.orders, "placed", odd, {}, "odd")
            await bench.send("good")
            (record,) = await bench.dead(ship, 1)
            assert record.body == odd
            await bench.handled_once(["good"], worker)
            assert worker.bodies("begun") == ["good"]

    async def test_a_body_over_the_maximum_size_is_dead_lettered_and_the_next_event_is_handled(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path, max_event_bytes=1000) as bench:
            ship = bench.handler()
            worker = await bench.worker(ship, max_event_bytes=1000)
            await bench.send("x" * 2000, "good")
            (record,) = await bench.dead(ship, 1)
            assert len(record.body) == 2002
            await bench.handled_once(["good"], worker)

    async def test_a_requeued_event_is_redelivered_until_it_succeeds(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            mended = bench.gate("mended")
            worker = await bench.worker(bench.handler(fail=str(mended), only=["bad"], on_error=REQUEUE))
            await bench.send("bad", "good")
            await worker.noted("failed", 3)
            mended.touch()
            await bench.handled_once(["bad", "good"], worker)
            if self.features.redelivered:
                assert [note["redelivered"] for note in worker.notes("done") if note["body"] == "bad"] == [True]

    async def test_a_duplicate_event_id_is_handled_once(self, target: SourceTarget, tmp_path: Path) -> None:
        self.needs("headers")
        async with self.bench(target, tmp_path) as bench:
            worker = await bench.worker(bench.handler(dedup=100))
            await bench.send("first", id="same")
            await worker.noted("done")
            await bench.send("second", id="same")
            await bench.send("other", id="other")
            await bench.send("without", id="")
            await bench.send("without either", id="")
            await bench.handled_once(["first", "other", "without", "without either"], worker)

    async def test_events_of_one_key_are_handled_in_order_despite_retries(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        self.needs("keyed_order")
        keys = ("a", "b", "c", "d")
        async with self.bench(target, tmp_path) as bench:
            only = [f"{key}{number}" for key in keys for number in (3, 7)]
            ship = bench.handler(fail=[1], only=only, max_workers=10, prefetch=50, backoff=0.1)
            worker = await bench.worker(ship)
            for number in range(10):
                for key in keys:
                    await bench.send(f"{key}{number}", key=key)
            done = await bench.handled([f"{key}{number}" for key in keys for number in range(10)], worker)
        for key in keys:
            assert [body for body in done if body[0] == key] == [f"{key}{number}" for number in range(10)]

    # ---- concurrency

    async def test_sync_handlers_run_concurrently_in_threads(self, target: SourceTarget, tmp_path: Path) -> None:
        async with self.bench(target, tmp_path) as bench:
            gate = bench.gate()
            worker = await bench.worker(bench.handler(is_async=False, gate=str(gate), max_workers=3))
            await bench.send(*numbered(3))
            await worker.noted("begun", 3)
            gate.touch()
            await bench.handled_once(numbered(3), worker)
            assert not any(note["in_main_thread"] for note in worker.notes("done"))

    async def test_a_slow_handler_does_not_delay_another(self, target: SourceTarget, tmp_path: Path) -> None:
        async with self.bench(target, tmp_path) as bench:
            gate = bench.gate()
            worker = await bench.worker(bench.handler("slow", gate=str(gate), max_workers=1), bench.handler("quick"))
            await bench.send(*numbered(50))
            await worker.noted("begun", 51)
            assert sorted(worker.bodies(handler="quick")) == sorted(numbered(50))
            assert not worker.bodies(handler="slow")
            gate.touch()
            await bench.handled(numbered(50) * 2, worker)

    async def test_prefetch_limits_how_many_events_are_received_ahead(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            gate = bench.gate()
            ship = bench.handler(max_workers=2, prefetch=10)
            worker = await bench.worker({**ship, "gate": str(gate)}, timeout=1.0)
            await bench.send(*numbered(500))
            await worker.noted("begun", 2)
            await asyncio.sleep(1.0)
            assert len(worker.notes("begun")) == 2
            await worker.stop()
            ((received, handled),) = _counts(worker, "received", "handled")
            assert (received <= 20, handled) == (True, 0)
            gate.touch()
            await bench.handled_once(numbered(500), await bench.worker(ship))

    # ---- stop

    async def test_stop_waits_for_running_handlers_and_returns_other_events_to_the_source(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            gate, ship = bench.gate(), bench.handler(max_workers=1, prefetch=10)
            first = await bench.worker({**ship, "gate": str(gate)})
            await bench.send(*numbered(10))
            await first.noted("begun")
            first.request_stop()
            await asyncio.sleep(0.5)
            gate.touch()
            assert await first.stop() == 0
            assert len(first.bodies()) == 1
            assert first.bodies() == first.bodies("begun")
            second = await bench.worker(ship)
            await bench.handled_once(numbered(10), first, second)

    async def test_on_error_shutdown_ends_the_worker_and_the_next_worker_handles_the_event(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            mended = bench.gate("mended")
            ship = bench.handler(fail=str(mended), on_error=SHUTDOWN)
            first = await bench.worker(ship)
            await bench.send("bad")
            assert await first.ended() == 1
            mended.touch()
            second = await bench.worker(ship)
            await bench.handled_once(["bad"], second)
            assert first.bodies() == []

    async def test_stop_returns_when_its_timeout_expires(self, target: SourceTarget, tmp_path: Path) -> None:
        async with self.bench(target, tmp_path) as bench:
            worker = await bench.worker(bench.handler(gate=str(bench.gate("never"))), timeout=1.0)
            await bench.send("x")
            await worker.noted("begun")
            begun = time.monotonic()
            await worker.stop()
            assert time.monotonic() - begun < 30.0  # generous: only a hang fails


def _counts(worker: Any, *names: str) -> list[tuple[int, ...]]:
    (note,) = worker.notes("stopped")
    return [tuple(each[name] for name in names) for each in note["status"].values()]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
