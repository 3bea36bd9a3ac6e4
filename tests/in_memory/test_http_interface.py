"""/interface on the HTTP port: what the application declares, handles and serves."""

import json

from tests.in_memory.test_http import TOKEN, ask, port
from tests.rpc import serving

__all__ = ["port"]

EVENT = '''
from decimal import Decimal

SERVICE = "orders"

async def placed(hub, number: int, total: Decimal = Decimal("0")):
    """An order was placed."""
'''
HANDLER = '''
@evbus.handler("orders", "placed", on_error=evbus.REJECT)
async def ship(hub, event):
    """Send the parcel."""
'''
SERVICE = '''
async def parcel(hub, number: int, express: bool = False):
    """Say where a parcel is."""

async def anything(hub, *names, clock=time.time): pass
'''


async def read(url, *headers):
    code, _, body = await ask(url, "/interface", *headers)
    return code, json.loads(body) if code == 200 else body


async def test_it_has_declared_events_handlers_and_services_with_their_schemas(app):
    hub = app(event__orders=EVENT, handler__shipping=HANDLER, service__where=SERVICE)
    async with serving(hub):
        url = await hub.evbus.http.start("0")
        assert (await read(url))[1]["handlers"] == []  # they are not started yet
        await hub.evbus.handlers.start()
        code, found = await read(url)

    assert code == 200
    (event,) = found["events"]
    assert (event["service"], event["event"], event["about"]) == ("orders", "placed", "An order was placed.")
    assert event["schema"]["properties"]["number"] == {"type": "integer"}
    assert event["schema"]["required"] == ["number"]
    (handler,) = found["handlers"]
    assert {name: handler[name] for name in ("handler", "of", "events", "source", "on_error", "about")} == {
        "handler": "shipping.ship",
        "of": "orders",
        "events": ["placed"],
        "source": "internal:default",
        "on_error": "reject",
        "about": "Send the parcel.",
    }
    anything, parcel = found["services"]
    assert parcel["call"] == "where.parcel(number: int, express: bool = False)"
    assert parcel["about"] == "Say where a parcel is."
    assert parcel["schema"]["properties"]["express"] == {"type": "boolean", "default": False}
    assert (anything["method"], anything["schema"]) == ("anything", None)  # its hints are no schema


async def test_it_needs_the_token(hub, port):
    url = await port(token=TOKEN)

    assert (await read(url))[0] == 401
    assert await read(url, f"Authorization: Bearer {TOKEN}") == (200, {"events": [], "handlers": [], "services": []})
