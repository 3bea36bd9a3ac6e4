"""JSON Schema and AsyncAPI of declared events."""

import re

import pytest

from evbus_like.engine.declared import asyncapi, schema
from evbus_like.engine.declared.declaration import declare
from tests.unit.test_declared import USER, Colour, Item, Point


async def order_paid(hub, order: int, items: list[Item], corner: Point, colour: Colour = Colour.RED, note=None): ...


ORDER = declare("shop", "order_paid", order_paid)


def test_the_schema_of_an_event_says_its_names_types_defaults_and_what_it_is_for():
    assert schema.schema(USER) == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "auth.user_created",
        "description": "A user has signed up.\n\nBy any way.",
        "type": "object",
        "properties": {
            "username": {"type": "string"},
            "email": {"type": "string"},
            "plan": {"type": "string", "default": "free"},
        },
        "required": ["username", "email"],
        "additionalProperties": False,
    }


def test_types_of_one_s_own_are_referred_to_and_a_named_tuple_is_a_mapping():
    made = schema.schema(ORDER)
    assert made["properties"]["items"] == {"type": "array", "items": {"$ref": "#/$defs/Item"}}
    assert made["properties"]["colour"]["default"] == "red"
    assert made["$defs"]["Colour"]["enum"] == ["blue", "red"]
    assert made["$defs"]["Point"] == {
        "title": "Point",
        "type": "object",
        "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 7}},
        "required": ["x"],
        "additionalProperties": False,
    }


def references(made):
    """Every $ref in a document."""
    if isinstance(made, dict):
        for name, each in made.items():
            if name == "$ref":
                yield each
            else:
                yield from references(each)
    elif isinstance(made, list):
        for each in made:
            yield from references(each)


def resolved(document, reference):
    """What a reference within a document stands for; raises KeyError where it stands for nothing."""
    made = document
    for part in reference.removeprefix("#/").split("/"):
        made = made[part]
    return made


DOCUMENTS = {
    "event": lambda: schema.schema(ORDER),
    "all": lambda: schema.document([USER, ORDER]),
    "asyncapi": lambda: asyncapi.document([USER, ORDER], "Shop", "1.2.3"),
}


@pytest.mark.parametrize("make", DOCUMENTS.values(), ids=DOCUMENTS)
def test_every_reference_leads_somewhere_within_the_document(make):
    document = make()
    found = list(references(document))
    assert found
    for reference in found:
        assert isinstance(resolved(document, reference), dict), reference


def test_one_document_holds_all_events_and_types_of_equal_names_stay_apart():
    other = declare("depot", "item_moved", _with_other_item())
    made = schema.document([ORDER, other])
    assert {"shop.order_paid", "shop.order_paid.Item", "depot.item_moved", "depot.item_moved.Item"} <= set(
        made["$defs"]
    )
    assert made["$defs"]["depot.item_moved.Item"] != made["$defs"]["shop.order_paid.Item"]
    assert made["anyOf"] == [{"$ref": "#/$defs/shop.order_paid"}, {"$ref": "#/$defs/depot.item_moved"}]


def _with_other_item():
    from dataclasses import make_dataclass

    async def item_moved(hub, it): ...

    item_moved.__annotations__ = {"it": make_dataclass("Item", [("number", int)])}
    return item_moved


def test_without_events_the_documents_are_empty_and_still_documents():
    assert schema.document([])["$defs"] == {}
    assert_asyncapi(asyncapi.document([], "Nothing", "0"))


# What AsyncAPI 3.0.0 requires and forbids, by the objects of its specification: {field: type}, required ones marked
OBJECTS = {
    "root": {"asyncapi!": str, "info!": dict, "defaultContentType": str, "channels": dict, "operations": dict}
    | {"components": dict, "servers": dict, "id": str},
    "info": {"title!": str, "version!": str, "description": str},
    "channel": {"address": (str, type(None)), "messages": dict, "title": str, "summary": str, "description": str}
    | {"servers": list, "parameters": dict, "tags": list, "externalDocs": dict, "bindings": dict},
    "operation": {"action!": str, "channel!": dict, "title": str, "summary": str, "description": str}
    | {"security": list, "tags": list, "externalDocs": dict, "bindings": dict, "traits": list, "messages": list}
    | {"reply": dict},
    "message": {"headers": dict, "payload": dict, "correlationId": dict, "contentType": str, "name": str}
    | {"title": str, "summary": str, "description": str, "tags": list, "externalDocs": dict, "bindings": dict}
    | {"examples": list, "traits": list},
    "components": {"schemas": dict, "messages": dict, "channels": dict, "operations": dict},
    "amqp": {"is": str, "exchange": dict, "queue": dict, "bindingVersion": str},
    "exchange": {"name": str, "type": str, "durable": bool, "autoDelete": bool, "vhost": str},
    "kafka": {"topic": str, "partitions": int, "replicas": int, "topicConfiguration": dict, "bindingVersion": str},
}
KEY = re.compile(r"[a-zA-Z0-9._-]+")


def assert_object(made, kind):
    fields = {name.removesuffix("!"): each for name, each in OBJECTS[kind].items()}
    assert set(made) <= set(fields), kind
    assert {name.removesuffix("!") for name in OBJECTS[kind] if name.endswith("!")} <= set(made), kind
    for name, value in made.items():
        assert isinstance(value, fields[name]), (kind, name)


def assert_asyncapi(document):
    """Fail where a document breaks a rule of AsyncAPI 3.0.0."""
    assert_object(document, "root")
    assert document["asyncapi"] == "3.0.0"
    assert_object(document["info"], "info")
    assert_object(document["components"], "components")
    groups = [document["channels"], document["operations"], *document["components"].values()]
    assert all(KEY.fullmatch(name) for group in groups for name in group)
    for channel in document["channels"].values():
        assert_object(channel, "channel")
        assert_object(channel["bindings"]["amqp"], "amqp")
        assert_object(channel["bindings"]["amqp"]["exchange"], "exchange")
        assert_object(channel["bindings"]["kafka"], "kafka")
        assert all(list(message) == ["$ref"] for message in channel["messages"].values())
    for operation in document["operations"].values():
        assert_object(operation, "operation")
        assert operation["action"] in ("send", "receive")
        channel = operation["channel"]["$ref"]
        assert channel.startswith("#/channels/")
        # "MUST be a subset of the messages defined in the channel", by references to the channel's own
        assert all(message["$ref"].startswith(f"{channel}/messages/") for message in operation["messages"])
    for message in document["components"]["messages"].values():
        assert_object(message, "message")
        assert message["headers"]["type"] == "object"


def test_the_asyncapi_document_keeps_the_rules_of_its_specification():
    assert_asyncapi(asyncapi.document([USER, ORDER], "Shop", "1.2.3"))


def test_an_asyncapi_channel_says_where_the_event_goes_on_both_brokers():
    document = asyncapi.document([USER], "Shop", "1.2.3")
    channel = document["channels"]["auth.user_created"]
    assert channel["address"] == "auth.events/user_created"
    assert channel["bindings"]["amqp"]["exchange"]["name"] == channel["bindings"]["kafka"]["topic"] == "auth.events"
    message = resolved(document, "#/channels/auth.user_created/messages/auth.user_created/$ref")
    payload = resolved(document, resolved(document, message)["payload"]["$ref"])
    assert list(payload["properties"]) == ["username", "email", "plan"]
    assert document["operations"]["send.auth.user_created"]["action"] == "send"


def test_services_whose_names_asyncapi_does_not_take_get_others_that_differ():
    async def happened(hub): ...

    events = [declare(service, "happened", happened) for service in ("a b", "a/b", "é")]
    document = asyncapi.document(events, "t", "1")
    assert_asyncapi(document)
    assert list(document["channels"]) == ["a_b.happened", "a_b.happened-2", "_.happened"]
    assert [each["address"] for each in document["channels"].values()] == [
        "a b.events/happened",
        "a/b.events/happened",
        "é.events/happened",
    ]
