"""Destinations, part three: one that is down, crashes, restarts or refuses the login."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from evbus_like.engine.errors import DeliveryError, DestinationRefused
from evbus_like.testing.conformance.delivery import ping
from evbus_like.testing.conformance.failing import DEADLINE, PAGE, failure, wait_until
from evbus_like.testing.conformance.suite import Suite, bus_state
from evbus_like.testing.conformance.target import Target

STILL_UP = "after kill() the plugin still reaches the destination"


class Faults(Suite):
    """No accepted event is lost, nothing hangs, and errors have the right kind."""

    async def test_a_bus_starts_while_its_destination_is_down_and_delivers_when_it_is_up(self, target: Target) -> None:
        self.needs("connects")
        sent = [b"%d" % number for number in range(50)]
        await target.kill()
        async with self.bus(target) as hub:
            for body in sent:
                await hub.evbus.broker.put(target.keys[0], body)
            await wait_for_state(hub, "retrying")
            await target.start()
            await wait_until(lambda: delivered(hub) == 50, "50 delivered events", lambda: bus_state(hub))
            account = await hub.evbus.init.stop(DEADLINE)
            arrived = [record.body for record in await self.arrived(target, sent)]
        assert list(dict.fromkeys(arrived)) == self.in_order(sent)
        assert account.balanced
        assert account.dead_lettered == 0

    async def test_ping_fails_when_the_destination_is_down(self, target: Target) -> None:
        self.needs("connects")
        target.hub = self.hub()
        await target.kill()
        try:
            await ping(target)
        except (DeliveryError, OSError):
            pass
        else:
            raise failure(f"{STILL_UP}, or the plugin's ping and open do not ask it; {PAGE}")
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

            streaming = asyncio.create_task(stream())
            try:
                await self._wait_for_more(hub, 0)
                await target.kill()
                before = delivered(hub)
                await target.start()
                await self._wait_for_more(hub, before)
            finally:
                enough.set()
                await streaming
            account = await hub.evbus.init.stop(DEADLINE)
            arrived = [record.body for record in await self.arrived(target, accepted)]
        assert account.complete
        unique = list(dict.fromkeys(arrived))
        assert self.in_order(unique) == self.in_order(accepted)
        assert len(arrived) - len(unique) <= account.retries

    async def _wait_for_more(self, hub: Any, before: int) -> None:
        await wait_until(
            lambda: delivered(hub) > before + 100, "100 more delivered events in a stream", lambda: bus_state(hub)
        )

    async def test_a_refused_login_keeps_the_events_and_its_error_hides_the_password(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.needs("refuses_login")
        data, password = target.refused_profile()
        async with self.bus(target, data) as hub:
            hub.evbus.broker.put_nowait(target.keys[0], b"held")
            await wait_for_state(hub, "refused")
            error = next(iter(hub.evbus.RUNTIME.bus.lanes)).error
            async with asyncio.timeout(DEADLINE):
                account = await hub.evbus.init.stop(5.0)
        assert isinstance(error, DestinationRefused)
        assert (account.balanced, account.dead_lettered, account.remaining + account.spilled) == (True, 0, 1)
        assert account.lanes[0].error == str(error)
        assert password not in f"{caplog.text} {error!r} {account}"


def delivered(hub: Any) -> int:
    """Return the number of delivered events."""
    return int(hub.evbus.init.account().delivered)


async def wait_for_state(hub: Any, wanted: str) -> None:
    """Wait until the only destination is in a state."""

    def state() -> str:
        (found,) = hub.evbus.init.status()["destinations"].values()
        return str(found["state"])

    def seen() -> str:
        hint = f"; {STILL_UP}" if wanted == "retrying" and delivered(hub) else ""
        return f"the state is {state()!r}{hint}. {bus_state(hub)}"

    await wait_until(lambda: state() == wanted, f"the state {wanted!r}", seen)
