"""The AsyncAPI document of an application, read by AsyncAPI's official parser."""

import json

import pytest

from tests.brokers.needs import in_ci
from tests.declared_app import APP
from tests.integration.commands import evbus
from tests.interop import asyncapi_parser

ERROR = 0  # severity
HANDLERS = """
import evbus_like.handlers as evbus

@evbus.handler("auth", ["user_created", "moved"])
async def greet(hub, event):
    \"\"\"Greet a user.\"\"\"

@evbus.handler("orders", "order.*.paid")
async def count(hub, event): ...
"""
SERVICE = """
async def hello(hub, name: str, times: int = 1) -> str:
    \"\"\"Greet somebody.\"\"\"

def loose(hub, *args, **kwargs): ...
"""


def parsed(document):
    try:
        return asyncapi_parser.parse(document)
    except asyncapi_parser.Unavailable as problem:
        return (pytest.fail if in_ci() else pytest.skip)(str(problem))


@pytest.fixture
def root(package):
    """An application that sends, receives and serves."""
    return package({**APP, "handler/mail.py": HANDLERS, "service/world.py": SERVICE})


async def test_the_document_of_an_application_is_valid_and_has_what_it_sends_receives_and_serves(root):
    code, out, err = await evbus(root, "schema", "--asyncapi", "--title", "Users", credentials=False)
    assert code == 0, err
    found = parsed(json.loads(out))
    assert [each for each in found["diagnostics"] if each["severity"] == ERROR] == []
    assert found["valid"]
    assert {tuple(each) for each in found["operations"]} == {
        *{("send.auth.moved", "send"), ("send.auth.user_created", "send"), ("send.web_shop.sold", "send")},
        *{("receive.mail.greet.user_created", "receive"), ("receive.mail.greet.moved", "receive")},
        *{("receive.mail.count.order._.paid", "receive")},
        *{("serve.world.hello", "receive"), ("serve.world.loose", "receive")},
    }


async def test_a_document_with_a_mistake_is_not_valid(root):
    _, out, _ = await evbus(root, "schema", "--asyncapi", credentials=False)
    document = json.loads(out)
    document["operations"]["send.auth.moved"]["action"] = "shout"
    assert not parsed(document)["valid"]
