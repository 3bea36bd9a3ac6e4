"""What the log says of a handler or a method that fails, and what it must not show."""

import logging

import pytest

from evbus_like.engine.errors import RemoteError
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
    async with handling(hub) as bus:
        with pytest.raises(RemoteError):
            await bus.hub.rpc.door.login(name=name, password="s3cret")
    failed = record(caplog, "its caller gets the error")
    assert bool(failed.exc_info) == traced
    assert f"'name': '{name}'" in failed.getMessage()
    assert "s3cret" not in caplog.text
