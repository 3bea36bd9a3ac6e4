"""Sources, part four: handlers of batches."""

from __future__ import annotations

from pathlib import Path

from evbus_like.engine.receiving.rules import REJECT
from evbus_like.testing.conformance.source_suite import SourceSuite, numbered
from evbus_like.testing.conformance.source_target import SourceTarget


class Batches(SourceSuite):
    """A handler that is called with several events at once."""

    async def test_a_handler_of_batches_is_called_with_several_events_and_each_is_acknowledged(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            gate = bench.gate()
            ship = bench.handler(batch=20, linger=1.0, max_workers=1)
            worker = await bench.worker({**ship, "gate": str(gate)})
            await bench.send(*numbered(50))
            gate.touch()
            await bench.handled_once(numbered(50), worker)
            sizes = [len(note["bodies"]) for note in worker.notes("batch")]
            assert max(sizes) <= 20
            assert len(sizes) <= 25, "they did not come in batches"
            await worker.stop()
            again = await bench.worker(ship)
            await bench.send("last")
            await bench.handled_once(["last"], again)

    async def test_an_event_that_spoils_its_batch_is_found_and_the_others_are_handled(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler(batch=16, linger=1.0, fail="always", only=["event 3", "event 11"], on_error=REJECT)
            worker = await bench.worker(ship)
            await bench.send(*numbered(16))
            records = await bench.dead(ship, 2)
            wanted = [body for body in numbered(16) if body not in ("event 3", "event 11")]
            await bench.handled_once(wanted, worker)
        assert sorted(record.body for record in records) == [b'"event 11"', b'"event 3"']

    async def test_events_of_one_key_are_in_order_in_batches_despite_retries(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        self.needs("keyed_order")
        keys = ("a", "b", "c")
        async with self.bench(target, tmp_path) as bench:
            only = [f"{key}{number}" for key in keys for number in (3, 7)]
            ship = bench.handler(fail=[1], only=only, batch=8, linger=0.2, max_workers=3, backoff=0.1)
            worker = await bench.worker(ship)
            for number in range(10):
                for key in keys:
                    await bench.send(f"{key}{number}", key=key)
            done = await bench.handled([f"{key}{number}" for key in keys for number in range(10)], worker)
        for key in keys:
            assert [body for body in done if body[0] == key] == [f"{key}{number}" for number in range(10)]

    async def test_the_events_of_a_batch_whose_worker_is_killed_are_handled_by_another(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        self.needs("processes")
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler(batch=10, linger=0.2)
            first = await bench.worker({**ship, "gate": str(bench.gate("never"))})
            await bench.send(*numbered(30))
            second = await bench.worker(ship, ready=False)
            await first.kill()
            await bench.handled(numbered(30), second)

    async def test_a_stop_gives_back_what_waits_for_a_full_batch(self, target: SourceTarget, tmp_path: Path) -> None:
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler(batch=100, linger=600.0)
            first = await bench.worker(ship)
            await bench.send(*numbered(5))
            assert await first.stop() == 0
            assert not first.notes("batch")
            second = await bench.worker({**ship, "options": {**ship["options"], "linger": 0.2}})
            await bench.handled_once(numbered(5), second)
