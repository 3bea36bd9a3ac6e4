"""Sources, part six: killed workers, and a source that is down, crashes and restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path

from evbus_like.testing.conformance.source_suite import SourceSuite, numbered
from evbus_like.testing.conformance.source_target import SourceTarget


class SourceFaults(SourceSuite):
    """Every event is handled at least once, and receiving resumes."""

    async def test_events_of_a_killed_worker_are_handled_by_another(self, target: SourceTarget, tmp_path: Path) -> None:
        self.needs("processes")
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler()
            first = await bench.worker({**ship, "gate": str(bench.gate("never")), "only": numbered(30)[::3]})
            await bench.send(*numbered(30))
            await first.noted("begun", 5)
            second = await bench.worker(ship, ready=False)
            await first.kill()
            assert set(await bench.handled(numbered(30), first, second)) == set(numbered(30))

    async def test_no_event_is_lost_while_workers_start_stop_and_are_killed(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        self.needs("processes")
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler()
            workers = [await bench.worker(ship)]
            for number in range(3):
                sending = asyncio.create_task(bench.send(*numbered(100, f"round {number}")))
                workers.append(await bench.worker(ship))
                await sending
                if number == 1:
                    await workers[1].kill()
                else:
                    await workers[number].stop()
            wanted = {body for number in range(3) for body in numbered(100, f"round {number}")}
            await bench.handled(wanted, *workers)

    async def test_receiving_resumes_after_the_source_is_killed_and_restarted(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        self.needs("survives_restart")
        async with self.bench(target, tmp_path) as bench:
            gate, ship = bench.gate(), bench.handler()
            worker = await bench.worker({**ship, "gate": str(gate), "only": ["under way"]})
            await bench.send("before")
            await worker.noted("done")
            await bench.send("under way")
            await worker.noted("begun", 2)
            await target.kill()
            await asyncio.sleep(1.0)
            gate.touch()
            await asyncio.sleep(0.5)
            await target.start()
            await bench.send(*numbered(20))
            wanted = {"before", "under way", *numbered(20)}
            await bench.handled(wanted, worker)
            assert await worker.stop() == 0
            second = await bench.worker(ship)
            await bench.send("last")
            assert "last" in await bench.handled(["last"], second)

    async def test_a_worker_starts_while_its_source_is_down_and_receives_when_it_is_up(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        self.needs("survives_restart")
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler()
            first = await bench.worker(ship)
            await first.stop()
            await bench.send(*numbered(5))
            await target.kill()
            try:
                worker = await bench.worker(ship, ready=False)
                await worker.noted("started")
                await asyncio.sleep(2.0)
                assert worker.alive()
            finally:
                await target.start()
            await worker.noted("ready")
            await bench.handled_once(numbered(5), worker)

    async def test_a_worker_stops_while_its_source_is_down(self, target: SourceTarget, tmp_path: Path) -> None:
        self.needs("survives_restart")
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler()
            worker = await bench.worker(ship, timeout=5.0)
            await bench.send("x")
            await worker.noted("done")
            await target.kill()
            try:
                await asyncio.sleep(1.0)
                assert await worker.stop() == 0
            finally:
                await target.start()
            second = await bench.worker(ship)
            await bench.send("y")
            assert "y" in await bench.handled(["y"], second)
