"""An application under load, in memory, with destinations that the test takes down and up again."""

import asyncio
from contextlib import asynccontextmanager, suppress

from evbus_like.testing import eventually
from tests.in_memory.test_http import GONE

INGRESS = """
from evbus_like.errors import TransientError

ACCT = ["pier"]
DOWN = set()

async def publish_batch(hub, ctx, events):
    if ctx.profile in DOWN:
        raise TransientError("the pier is flooded")
"""
EVENT = '''
SERVICE = "orders"

async def placed(hub, number: int, express: bool = False):
    """An order was placed, and paid."""
'''
HANDLER = '''
@evbus.handler("orders", "placed", on_error=evbus.REJECT)
async def ship(hub, event):
    """Send the parcel."""
    if event.body["number"] % 50 == 49:
        raise ValueError("there is no such street")
'''
SERVICE = '''
async def where(hub, number: int):
    """Say where a parcel is."""
    return "here"
'''
PLUGINS = {
    "ingress__pier": INGRESS,
    "event__orders": EVENT,
    "handler__shipping": HANDLER,
    "service__parcels": SERVICE,
}
EVERY = 0.02  # seconds
HOSTILE = "<img src=x onerror=alert(1)>"


class Load:
    """The bus that runs, and the URL of its page."""

    def __init__(self, hub, url):
        self.hub = hub
        self.url = url
        self.down = hub.ingress.pier.DOWN  # the profiles of pier that are down


@asynccontextmanager
async def loaded(hub, folder, name=HOSTILE, **options):
    """Run the application, which puts some events all the time, also to a destination of this name."""
    hub.OPT = {"evbus_like": {"outbox_path": str(folder / "outbox.sqlite"), "stop_grace": 0.1}}
    away = {"connection": GONE, "outbox": "always", "max_events": 5000, "when_full": "drop_old"}
    profiles = {"internal": {"default": None}, "pier": {"north": {}, name: {}}, "amqp": {"away": away}}
    listener = asyncio.create_task(hub.evbus.init.start(profiles))
    await hub.evbus.init.join()
    await hub.evbus.rpc.start()
    await hub.evbus.handlers.start()
    putting = asyncio.create_task(_put(hub, name))
    try:
        yield Load(hub, await hub.evbus.http.start("0", **options))
    finally:
        putting.cancel()
        with suppress(asyncio.CancelledError):
            await putting
        await hub.evbus.init.stop(1.0)
        await listener


async def _put(hub, name):
    number = 0
    while True:
        for _ in range(3):
            hub.evbus.broker.put_nowait("berth", number, profile="north")
        hub.evbus.broker.put_nowait("ship", number, profile=name)
        hub.evbus.broker.put_nowait("audit", number, profile="away")
        await hub.event.orders.placed(number=number)
        if number % 20 == 0:
            await hub.rpc.parcels.where(number=number)
        number += 1
        await asyncio.sleep(EVERY)


async def until(state, hub, name, timeout=30):
    """Wait until a destination is in a state."""
    await eventually(lambda: hub.evbus.init.status()["destinations"][name]["state"] == state, timeout)
