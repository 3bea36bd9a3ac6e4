"""What the log says of a handler or a method that fails, and what it must not show."""

import logging

import pytest

from evbus_like.engine.errors import RemoteError
from evbus_like.hub import call_handler
from evbus_like.testing import handling

HANDLERS = """
    @evbus.handler("orders", "paid", on_error=evbus.ACK_AND_LOG, sensitive=("card.number", "password"))
    async def bill(hub, event):
        raise ValueError("no money")

    @evbus.handler("orders", "sent", on_error=evbus.ACK_AND_LOG, sensitive="*", expected_exceptions=KeyError)
    async def ship(hub, event):
        raise KeyError("address")
"""
SERVICE = """
    @evbus.method(sensitive="kwargs.password", expected_exceptions=KeyError)
    async def login(hub, name, password):
        if name == "ann":
            raise KeyError(name)
        raise ValueError(name)
"""


@pytest.fixture
def hub(app):
    return app(handler__shop=HANDLERS, service__door=SERVICE)


def record(caplog, text):
    (found,) = [each for each in caplog.records if text in each.getMessage()]
    return found


async def test_sensitive_parts_of_an_event_are_not_logged_and_an_error_has_its_traceback(hub, caplog):
    hub.OPT = {"evbus_like": {"log_bodies": True}}
    async with handling(hub) as bus:
        await bus.dispatch("orders", "paid", {"id": 7, "password": "s3cret", "card": {"number": "4111", "kind": "v"}})
        await bus.outcome("shop.bill")
    failed = record(caplog, "no money")
    assert failed.exc_info
    assert "'id': 7" in failed.getMessage()
    assert "'kind': 'v'" in failed.getMessage()
    assert "s3cret" not in caplog.text
    assert "4111" not in caplog.text


async def test_an_expected_exception_is_one_line_without_a_traceback(hub, caplog):
    async with handling(hub) as bus:
        await bus.dispatch("orders", "sent", {"id": "hidden"})
        await bus.outcome("shop.ship")
    failed = record(caplog, "KeyError")
    assert not failed.exc_info
    assert failed.levelno == logging.WARNING
    assert "hidden" not in caplog.text


@pytest.mark.parametrize(("name", "traced"), [("ann", False), ("bob", True)])
async def test_a_request_is_logged_in_the_same_way(hub, caplog, name, traced):
    hub.OPT = {"evbus_like": {"log_bodies": True}}
    async with handling(hub) as bus:
        with pytest.raises(RemoteError):
            await bus.hub.rpc.door.login(name=name, password="s3cret")
    failed = record(caplog, "its caller gets the error")
    assert bool(failed.exc_info) == traced
    assert f"'name': '{name}'" in failed.getMessage()
    assert "s3cret" not in caplog.text


HIDING = """
    @evbus.handler("orders", "paid", on_error=evbus.REJECT)
    async def bill(hub, event):
        raise ValueError(f"cannot use {event.body}")

    @evbus.handler("orders", "sent", on_error=evbus.REJECT, sensitive="password")
    async def ship(hub, event):
        raise ValueError(event.body)
"""
DOOR = """
    @evbus.method(sensitive="kwargs.password")
    async def login(hub, name, password):
        raise ValueError(f"not {password}")

    async def enter(hub, code):
        raise ValueError("closed")
"""


async def test_bodies_are_not_in_the_log_of_what_fails(app, caplog):
    hub = app(handler__shop=HIDING, service__door=DOOR)
    async with handling(hub) as bus:
        await bus.dispatch("orders", "paid", {"card": "4111"})
        outcome = await bus.outcome("shop.bill")
        with pytest.raises(RemoteError):
            await bus.hub.rpc.door.enter(code="4111")
    assert "4111" not in caplog.text
    assert "ValueError: cannot use ***" in caplog.text
    assert outcome.disposition.reason == "rejected: ValueError: cannot use ***"
    assert "closed" in caplog.text


async def test_a_positional_argument_of_a_request_is_hidden_by_its_name(app, caplog):
    hub = app(handler__shop=HIDING, service__door=DOOR)
    hub.OPT = {"evbus_like": {"log_bodies": True}}
    async with handling(hub) as bus:
        with pytest.raises(RemoteError):
            await bus.hub.rpc.door.login("ann", "s3cret")
    assert "'name': 'ann', 'password': '***'" in caplog.text
    assert "s3cret" not in caplog.text


SECRETS = {
    "no content type": (b'{"password": "s3cret"}', ""),
    "an unknown content type": (b'{"password": "s3cret"}', "application/avro"),
    "text": (b"password=s3cret", "text/plain"),
    "json text within": (b'{"payload": "{\\"password\\": \\"s3cret\\"}"}', "application/json"),
    "values without names": (b'["ann", "s3cret"]', "application/json"),
    "deep inside": (b'{"user": {"Password": "s3cret"}}', "application/json"),
    "not json": (b'{"password": "s3cret"', "application/json"),
    "not accepted": (b"password: s3cret", "application/yaml"),
    "not text": (b"password=s3cret\xff", "text/plain"),
}


@pytest.mark.parametrize("log_bodies", [False, True])
@pytest.mark.parametrize("name", SECRETS)
async def test_what_cannot_be_searched_for_sensitive_parts_is_hidden_whole(app, caplog, name, log_bodies):
    hub = app(handler__shop=HIDING)
    hub.OPT = {"evbus_like": {"log_bodies": log_bodies}}
    raw, content_type = SECRETS[name]
    async with handling(hub) as bus:
        found = call_handler.in_memory(call_handler.named(hub, "shop.ship"))
        event = call_handler.event_for(hub, found, raw, content_type=content_type)
        outcome = await call_handler.call(hub, found, event, bus._recorder)
    assert outcome.disposition.kind == "dead_letter"
    assert caplog.text
    assert "s3cret" not in caplog.text
    assert "s3cret" not in outcome.disposition.reason
