"""A real Prometheus reads a bus in trouble by the alert rules of deploy/, and fires what an operator must see."""

import asyncio
import time

from tests.deploy.programs import HANG
from tests.deploy.running import firing
from tests.in_memory.test_http import GONE

EXPECTED = {"EvbusDestinationDown", "EvbusBacklogGrows", "EvbusDeadLetters", "EvbusLoopStuck", "EvbusEventsUnmatched"}
HANDLER = """
@evbus.handler("orders", "placed", on_error=evbus.REJECT)
async def ship(hub, event):
    raise ValueError("no")
"""


async def test_alerts_fire_for_a_dead_destination_a_backlog_dead_letters_and_a_stuck_loop(app, prometheus, tmp_path):
    hub = app(handler__shipping=HANDLER)
    hub.OPT = {"evbus_like": {"outbox_path": str(tmp_path / "outbox.sqlite"), "stop_grace": 0.1}}
    away = {"connection": GONE, "outbox": "always"}
    listener = asyncio.create_task(hub.evbus.init.start({"internal": {"default": None}, "amqp": {"away": away}}))
    await hub.evbus.init.join()
    await hub.evbus.handlers.start()
    try:
        url = prometheus((await hub.evbus.http.start("0")).removeprefix("http://"))
        seen, deadline = set(), time.monotonic() + HANG
        while not seen >= EXPECTED and time.monotonic() < deadline:
            puts = [hub.evbus.broker.put("k", number, profile="away") for number in range(500)]
            await asyncio.gather(*puts, hub.evbus.broker.put("k", 1, profile="nobody"))
            await hub.evbus.broker.dispatch("orders", "placed", 1)
            asyncio.get_running_loop().call_soon(time.sleep, 1.5)  # the loop is stuck for longer than between two looks
            await asyncio.sleep(4)  # and then answers Prometheus for a while
            seen |= await asyncio.to_thread(firing, url)
        assert seen >= EXPECTED, EXPECTED - seen
        assert not seen & {"EvbusEventsDropped", "EvbusOutboxUnusable", "EvbusHandlerDown"}
    finally:
        await hub.evbus.init.stop(1.0)
        await listener
