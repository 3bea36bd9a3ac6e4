"""Conformance, part three: a destination that is absent, dies, comes back or refuses."""

from __future__ import annotations

import asyncio

import pytest

from evbus_like.engine.errors import DeliveryError, DestinationRefused
from evbus_like.testing.conformance.delivery import ping
from evbus_like.testing.conformance.suite import DEADLINE, Suite
from evbus_like.testing.conformance.target import Target
from evbus_like.testing.running import eventually


class Faults(Suite):
    """Nothing accepted is lost, nothing hangs, and the kind of an error is told."""

    async def test_a_bus_starts_while_its_destination_is_down_and_delivers_when_it_is_up(self, target: Target) -> None:
        self.needs("connects")
        sent = [b"%d" % number for number in range(50)]
        await target.kill()
        async with self.bus(target) as hub:
            for body in sent:
                await hub.evbus.broker.put(target.keys[0], body)
            await eventually(lambda: state(hub) == "retrying")
            await target.start()
            await eventually(lambda: hub.evbus.init.account().delivered == 50)
            account = await hub.evbus.init.stop(DEADLINE)
            arrived = [record.body for record in await target.read(50)]
        assert list(dict.fromkeys(arrived)) == self.in_order(sent)
        assert account.balanced
        assert account.dead_lettered == 0

    async def test_ping_fails_when_the_destination_is_down(self, target: Target) -> None:
        self.needs("connects")
        await target.kill()
        try:
            with pytest.raises((DeliveryError, OSError)):
                await ping(self.hub(), target)
        finally:
            await target.start()

    async def test_stop_while_the_destination_is_down_counts_the_remaining_events(self, target: Target) -> None:
        self.needs("connects")
        await target.kill()
        try:
            async with self.bus(target) as hub:
                for number in range(3):
                    await hub.evbus.broker.put(target.keys[0], b"%d" % number)
                async with asyncio.timeout(DEADLINE):
                    account = await hub.evbus.init.stop(2.0)
        finally:
            await target.start()
        assert account.balanced
        assert (account.accepted, account.delivered, account.remaining + account.spilled) == (3, 0, 3)

    async def test_killing_the_destination_mid_stream_loses_no_event_and_keeps_the_order(self, target: Target) -> None:
        self.needs("connects", "survives_restart")
        accepted: list[bytes] = []
        enough = asyncio.Event()
        async with self.bus(target) as hub:

            async def stream() -> None:
                while not enough.is_set():
                    body = b"%d" % len(accepted)
                    await hub.evbus.broker.put(target.keys[0], body)
                    accepted.append(body)
                    await asyncio.sleep(0.001)

            def delivered() -> int:
                return hub.evbus.init.account().delivered

            streaming = asyncio.create_task(stream())
            try:
                await eventually(lambda: delivered() > 100)
                await target.kill()
                at_the_kill = delivered()
                await target.start()
                await eventually(lambda: delivered() > at_the_kill + 100)
            finally:
                enough.set()
                await streaming
            account = await hub.evbus.init.stop(DEADLINE)
            arrived = [record.body for record in await target.read(len(accepted))]
        assert account.complete
        unique = list(dict.fromkeys(arrived))
        assert self.in_order(unique) == self.in_order(accepted)
        assert len(arrived) - len(unique) <= account.retries

    async def test_a_refused_login_keeps_the_events_and_its_error_hides_the_password(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.needs("refuses_login")
        data, password = target.refused_profile()
        async with self.bus(target, data) as hub:
            hub.evbus.broker.put_nowait(target.keys[0], b"held")
            await eventually(lambda: state(hub) == "refused")
            error = next(iter(hub.evbus.RUNTIME.bus.lanes)).error
            async with asyncio.timeout(DEADLINE):
                account = await hub.evbus.init.stop(5.0)
        assert isinstance(error, DestinationRefused)
        assert (account.balanced, account.dead_lettered, account.remaining + account.spilled) == (True, 0, 1)
        assert account.lanes[0].error == str(error)
        assert password not in f"{caplog.text} {error!r} {account}"


def state(hub: object) -> str:
    """Give the state of the only destination."""
    (found,) = hub.evbus.init.status()["destinations"].values()  # type: ignore[attr-defined]
    return found["state"]
