"""A request is answered when what its method put is safe, and not before."""

import asyncio

from evbus_like.testing import eventually
from tests.rpc import serving
from tests.unit.fakes import HANG


async def test_a_request_is_answered_only_when_what_its_method_put_is_delivered(app):
    hub = app(
        """
        async def place(hub):
            await hub.evbus.broker.put("full", b"second", profile="small")
            hub.SEEN.append("put")
            return "placed"
        """
    )
    profiles = {"internal": {"default": None, "small": {"routing_key": "small", "queue_events": 1}}}
    async with serving(hub, profiles):
        queue = await hub.ingress.internal.get("small")
        await hub.evbus.broker.put("x", b"first", profile="small", confirm="delivered")
        call = hub.rpc.world.place.submit(timeout=HANG)
        await eventually(lambda: hub.SEEN == ["put"], HANG)
        await asyncio.sleep(0.1)
        assert not call.done()
        await queue.get()  # now there is room
        assert await call == "placed"
