"""Sources, part one: which handlers get an event, and what they get."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from evbus_like.engine.receiving.subscription import BROADCAST, SINGLETON
from evbus_like.testing.conformance.source_suite import SourceSuite, numbered
from evbus_like.testing.conformance.source_target import SourceTarget


class Sharing(SourceSuite):
    """Service pools, singletons and broadcasts; event types; durable subscriptions; ids, headers and bodies."""

    async def test_each_service_pool_handles_an_event_once(self, target: SourceTarget, tmp_path: Path) -> None:
        async with self.bench(target, tmp_path) as bench:
            ship, bill = bench.handler(), bench.handler("bill", "billing")
            one, other = await bench.worker(ship), await bench.worker(ship)
            billing = await bench.worker(bill)
            await bench.send(*numbered(60))
            await bench.handled_once(numbered(60), one, other)
            await bench.handled_once(numbered(60), billing)

    async def test_two_handlers_of_one_service_each_handle_an_event(self, target: SourceTarget, tmp_path: Path) -> None:
        async with self.bench(target, tmp_path) as bench:
            worker = await bench.worker(bench.handler("ship"), bench.handler("pack"))
            await bench.send(*numbered(20))
            await bench.handled(numbered(20) * 2, worker)
            for name in ("ship", "pack"):
                assert sorted(worker.bodies(handler=name)) == sorted(numbered(20))

    async def test_a_singleton_event_is_handled_once_across_all_services(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler("ship", "shipping", delivery=SINGLETON)
            bill = bench.handler("bill", "billing", delivery=SINGLETON)
            one, other = await bench.worker(ship), await bench.worker(bill)
            await bench.send(*numbered(60))
            await bench.handled_once(numbered(60), one, other)

    async def test_a_broadcast_event_is_handled_by_every_worker(self, target: SourceTarget, tmp_path: Path) -> None:
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler(delivery=BROADCAST, reliable=False)
            workers = [await bench.worker(ship) for _ in range(2)]
            await bench.send(*numbered(20))
            for worker in workers:
                await bench.handled_once(numbered(20), worker)

    async def test_a_handler_receives_only_events_of_its_source_and_event_types(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            other = f"{bench.orders}-other"
            await target.prepare(other)
            handler = bench.handler(event_types=["placed", "user.*", "item.#"])
            worker = await bench.worker(handler)
            wanted = ["placed", "user.made", "item", "item.a.b"]
            for event_type in (*wanted, "user", "user.made.twice", "placed.x", "other"):
                await bench.send(event_type, event_type=event_type)
            await bench.send("of the other", service=other)
            await bench.send("last")
            await bench.handled_once([*wanted, "last"], worker)
            assert {note["routing_key"] for note in worker.notes("done")} == set(wanted)
            assert {note["service"] for note in worker.notes("done")} == {bench.orders}

    async def test_a_reliable_handler_receives_events_published_while_no_worker_ran(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler()
            first = await bench.worker(ship)
            await bench.send("before")
            await first.noted("done")
            assert await first.stop() == 0
            await bench.send(*numbered(20))
            second = await bench.worker(ship)
            await bench.handled_once(numbered(20), second)

    async def test_a_reliable_broadcast_keeps_events_for_each_broadcast_identifier(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            one, other = (
                bench.handler(delivery=BROADCAST, broadcast_identifier=name, service="shipping") for name in "ab"
            )
            first, second = await bench.worker(one), await bench.worker(other)
            await first.stop()
            await bench.send(*numbered(10))
            await bench.handled_once(numbered(10), second)
            third = await bench.worker(one)
            await bench.handled_once(numbered(10), third)

    @pytest.mark.parametrize("delivery", ["service_pool", "broadcast"])
    async def test_an_unreliable_handler_receives_only_events_published_while_it_runs(
        self, target: SourceTarget, tmp_path: Path, delivery: str
    ) -> None:
        if self.features.keeps_unwanted and delivery == "service_pool":
            pytest.skip(f"{type(self).__name__} declares keeps_unwanted=True")
        async with self.bench(target, tmp_path) as bench:
            ship = bench.handler(reliable=False, delivery=delivery)
            first = await bench.worker(ship)
            await bench.send("while it receives")
            await first.noted("done")
            await first.stop()
            await bench.send(*numbered(5, "lost"))
            second = await bench.worker(ship)
            await bench.send("after")
            await bench.handled_once(["after"], second)

    async def test_an_event_published_right_after_the_subscription_is_received(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        async with self.bench(target, tmp_path) as bench:
            for number in range(3):
                worker = await bench.worker(bench.handler(f"ship{number}"))
                await bench.send(number)
                await bench.handled_once([number], worker)

    async def test_a_new_handler_can_start_at_the_earliest_event(self, target: SourceTarget, tmp_path: Path) -> None:
        self.needs("rewinds")
        async with self.bench(target, tmp_path) as bench:
            await bench.send(*numbered(10))
            early = await bench.worker(bench.handler("early", since="earliest"))
            late = await bench.worker(bench.handler("late", since="latest"))
            await bench.send("now")
            await bench.handled_once([*numbered(10), "now"], early)
            await bench.handled_once(["now"], late)

    async def test_the_event_id_and_the_headers_arrive(self, target: SourceTarget, tmp_path: Path) -> None:
        self.needs("headers")
        headers = {"text": "žába", "number": 7, "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
        async with self.bench(target, tmp_path) as bench:
            worker = await bench.worker(bench.handler())
            await bench.send("x", id="the-id", headers=headers)
            (note,) = await worker.noted("done")
        assert note["id"] == "the-id"
        expected = headers if self.features.typed_headers else {name: str(value) for name, value in headers.items()}
        assert {name: note["headers"].get(name) for name in headers} == expected
        assert (note["attempt"], note["redelivered"]) == (1, False)

    async def test_events_put_by_a_handler_carry_its_correlation_and_trace_context(
        self, target: SourceTarget, tmp_path: Path
    ) -> None:
        self.needs("headers")
        headers = {"correlation-id": "the-first", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
        async with self.bench(target, tmp_path) as bench:
            shipped = f"{bench.orders}-shipped"
            await target.prepare(shipped)
            after = bench.handler("after", source=shipped, event_types=["shipped"])
            worker = await bench.worker(bench.handler(put=(shipped, "shipped")), after)
            await bench.send("x", id="the-id", headers=headers)
            await bench.handled(["x", "x"], worker)
            (note,) = [each for each in worker.notes("done") if each["handler"] == "after"]
        assert note["headers"]["correlation-id"] == "the-first"
        assert note["headers"]["causation-id"] == "the-id"
        version, trace, span, flags = note["headers"]["traceparent"].split("-")
        assert (version, trace, flags) == ("00", "a" * 32, "01")
        assert span != "b" * 16

    async def test_a_body_is_decoded_by_its_content_type(self, target: SourceTarget, tmp_path: Path) -> None:
        self.needs("content_type")
        raw = bytes(range(256))
        async with self.bench(target, tmp_path) as bench:
            worker = await bench.worker(bench.handler())
            given = [
                (json.dumps({"é": [1, None]}).encode(), "application/json"),
                ("žába".encode(), "text/plain"),
                (raw, "application/octet-stream"),
                (b"unknown", "application/x-pigeon"),
            ]
            for number, (body, content_type) in enumerate(given):
                await target.publish(bench.orders, "placed", body, {}, f"id-{number}", content_type)
            notes = await worker.noted("done", len(given))
        bodies = {note["id"]: note["body"] for note in notes}
        assert bodies == {
            "id-0": {"é": [1, None]},
            "id-1": "žába",
            "id-2": {"base64": base64.b64encode(raw).decode()},
            "id-3": {"base64": base64.b64encode(b"unknown").decode()},
        }
