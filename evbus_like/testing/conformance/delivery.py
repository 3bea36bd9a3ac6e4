"""Destinations, part two: every event arrives once, in the right place, and is counted."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from evbus_like.engine.errors import BadEvent, NotDelivered
from evbus_like.hub.profiles.destination import probe
from evbus_like.hub.profiles.plan import plan
from evbus_like.testing.conformance.failing import DEADLINE, PAGE, failure, wait_until
from evbus_like.testing.conformance.suite import Suite, numbered, profile_of
from evbus_like.testing.conformance.target import Target


class Delivery(Suite):
    """Order, receipts, the account and the stop."""

    async def test_every_event_arrives_once_in_order_and_unchanged(self, target: Target) -> None:
        sent = numbered(target.keys, 90)
        async with self.bus(target) as hub:
            for key, body in sent:
                await hub.evbus.broker.put(key, body)
            await hub.evbus.init.stop(DEADLINE)
            arrived = await self.arrived(target, sent)
        assert self.by_key(arrived) == self.by_key(sent)

    async def test_a_burst_of_5000_events_arrives_in_order(self, target: Target) -> None:
        sent = numbered(target.keys, 5000)
        async with self.bus(target) as hub:
            for key, body in sent:
                hub.evbus.broker.put_nowait(key, body)
            account = await hub.evbus.init.stop(DEADLINE)
            arrived = await self.arrived(target, sent)
        assert account.complete
        assert self.by_key(arrived) == self.by_key(sent)

    async def test_a_profile_sends_no_more_events_than_its_rate_says_and_waiting_is_no_trouble(
        self, target: Target
    ) -> None:
        count, rate, at_once = 100, 100, 5
        sent = numbered(target.keys, count)
        async with self.bus(target, {**profile_of(target), "rate": f"{rate}/s"}) as hub:
            await hub.evbus.broker.put(*sent[0], confirm="delivered")
            begun = monotonic()
            for key, body in sent[1:]:
                hub.evbus.broker.put_nowait(key, body)
            (lane,) = hub.evbus.RUNTIME.bus.lanes
            await wait_until(lambda: lane.limited, "the lane to wait for its rate", lambda: str(lane.status()))
            status = lane.status()
            account = await hub.evbus.init.stop(DEADLINE)
            took = monotonic() - begun
            arrived = await self.arrived(target, sent)
        assert took >= (count - 3 * at_once) / rate, f"{count} events were sent within {took:.3f} s"
        assert (status["state"], status["trouble"]) == ("open", ""), "to wait for the rate is no trouble"
        assert (account.retries, account.complete) == (0, True)
        assert self.by_key(arrived) == self.by_key(sent)

    async def test_events_put_before_the_bus_starts_arrive_first(self, target: Target) -> None:
        sent = numbered(target.keys[:1], 20)
        target.hub = hub = self.hub()
        for key, body in sent[:10]:
            hub.evbus.broker.put_nowait(key, body)
        profiles = {"default": {**profile_of(target), "serializer": "str"}}
        self.check(target, profiles)
        contexts = await hub.evbus.acct.profiles(acct_data={target.provider: profiles})
        listener = asyncio.create_task(hub.evbus.init.start(contexts))
        await hub.evbus.init.join()
        for key, body in sent[10:]:
            await hub.evbus.broker.put(key, body)
        await hub.evbus.init.stop(DEADLINE)
        await listener
        assert self.by_key(await self.arrived(target, sent)) == self.by_key(sent)

    async def test_confirm_delivered_returns_after_the_event_has_arrived(self, target: Target) -> None:
        async with self.bus(target) as hub:
            receipt = await hub.evbus.broker.put(target.keys[0], b"there", confirm="delivered")
            assert receipt.delivered
            assert receipt.outcomes == {f"{target.provider}:default": "delivered"}
            assert len(await self.arrived(target, [b"there"])) == 1

    async def test_stop_delivers_queued_events_and_the_account_balances(self, target: Target) -> None:
        async with self.bus(target) as hub:
            for number in range(500):
                hub.evbus.broker.put_nowait(target.keys[0], b"%d" % number)
            account = await hub.evbus.init.stop(DEADLINE)
        assert account.balanced
        assert (account.put, account.accepted, account.delivered, account.remaining) == (500, 500, 500, 0)
        assert len(await self.arrived(target, [b"%d" % number for number in range(500)])) == 500

    async def test_a_restarted_bus_delivers(self, target: Target) -> None:
        for body in (b"first", b"second"):
            async with self.bus(target) as hub:
                await hub.evbus.broker.put(target.keys[0], body, confirm="delivered")
                assert len(await self.arrived(target, [body])) == 1

    async def test_an_event_that_matches_two_profiles_is_delivered_to_both(self, target: Target) -> None:
        profile = {**profile_of(target), "serializer": "str"}
        async with self.profiles(target, {"orders": profile, "ord*": profile, "other": profile}) as hub:
            receipt = await hub.evbus.broker.put(target.keys[0], b"twice", "orders", confirm="delivered")
            arrived = await self.arrived(target, [b"twice", b"twice"])
        assert receipt.destinations == (f"{target.provider}:orders", f"{target.provider}:ord*")
        assert len(arrived) == 2
        if self.features.headers:
            assert {record.id for record in arrived} == {receipt.id}

    async def test_a_profile_can_set_the_routing_key_of_all_its_events(self, target: Target) -> None:
        self.needs("fixed_key")
        sent = numbered(target.keys, 6)
        async with self.bus(target, target.fixed_profile()) as hub:
            for key, body in sent:
                await hub.evbus.broker.put(key, body)
            await hub.evbus.init.stop(DEADLINE)
            arrived = await self.arrived(target, sent)
        assert {record.routing_key for record in arrived} == {target.keys[0]}
        assert len(arrived) == 6

    async def test_events_put_by_several_threads_arrive_in_the_order_of_each_thread(self, target: Target) -> None:
        async with self.bus(target) as hub:

            async def put_all(key: str) -> None:
                for number in range(100):
                    await hub.evbus.broker.put(key, b"%d" % number)

            def put_all_nowait(key: str) -> None:
                for number in range(100):
                    hub.evbus.broker.put_nowait(key, b"%d" % number)

            one, two, three = target.keys
            await asyncio.gather(
                asyncio.to_thread(put_all_nowait, one),
                asyncio.to_thread(put_all_nowait, two),
                asyncio.to_thread(asyncio.run, put_all(three)),
            )
            await hub.evbus.init.stop(DEADLINE)
            bodies = [b"%d" % number for number in range(100)]
            arrived = await self.arrived(target, bodies * 3)
        expected = self.in_order(bodies)
        assert self.by_key(arrived) == dict.fromkeys((one, two, three), expected)

    async def test_an_unroutable_event_is_refused_or_dead_lettered_and_logged_and_others_are_delivered(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.needs("refuses_missing_target")
        sent = numbered(target.keys, 60)
        async with self.bus(target) as hub:
            for number, (key, body) in enumerate(sent):
                hub.evbus.broker.put_nowait(key, body)
                if number == 30:
                    hub.evbus.broker.put_nowait(target.missing_key, b"lost")
            await self._put_unroutable(hub, target.missing_key)
            account = await hub.evbus.init.stop(DEADLINE)
            arrived = await self.arrived(target, sent)
        assert self.by_key(arrived) == self.by_key(sent)
        refused = account.dead_lettered + account.rejected
        assert (account.delivered, refused, account.remaining + account.spilled) == (60, 2, 0)
        assert target.missing_key in caplog.text

    async def _put_unroutable(self, hub: Any, key: str) -> None:
        try:
            await hub.evbus.broker.put(key, b"lost too", confirm="delivered")
        except (BadEvent, NotDelivered) as error:  # refused at once where the destination knows its names
            said = str(error)
        else:
            raise failure(
                f"an event with your missing_key {key!r} was delivered. If the destination can refuse such an event,"
                " the plugin must raise or return a PoisonEvent; if it cannot, declare refuses_missing_target=False;"
                f" {PAGE}"
            )
        assert key in said

    async def test_stop_leaves_no_task_and_no_connection(self, target: Target) -> None:
        tasks, sockets = asyncio.all_tasks(), open_sockets()
        async with self.bus(target) as hub:
            await hub.evbus.broker.put(target.keys[0], b"x", confirm="delivered")
        await wait_until(
            lambda: not asyncio.all_tasks() - tasks and open_sockets() <= sockets,
            "the tasks and connections of the plugin to end",
            lambda: f"left: {asyncio.all_tasks() - tasks or ''} {open_sockets() - sockets or ''}",
            timeout=10.0,
        )
        assert len(await self.arrived(target, [b"x"])) == 1

    async def test_ping_succeeds_when_the_destination_is_up(self, target: Target) -> None:
        target.hub = self.hub()
        await ping(target)


def open_sockets() -> set[str]:
    """Return the open sockets of this process; none where the system does not list them."""
    found = set()
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            name = os.readlink(entry)
        except OSError:  # closed meanwhile
            continue
        if name.startswith("socket:"):
            found.add(name)
    return found


async def ping(target: Target) -> None:
    """Open, ping and close the destination, as `evbus check` does; raises what is wrong."""
    (planned,) = plan(target.hub, {target.provider: {"default": profile_of(target)}})
    assert planned.destination is not None, planned.problem
    async with asyncio.timeout(DEADLINE):
        await probe(planned.destination)
