"""JSON Schema and AsyncAPI of declared events."""

import re

import pytest

from evbus_like.engine.declared import asyncapi, schema
from evbus_like.engine.declared.asyncapi import Received, Served
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
    "asyncapi of an application": lambda: whole(),
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
    "operation of amqp": {"ack": bool, "bindingVersion": str},
    "operation of kafka": {"groupId": dict, "bindingVersion": str},
    "reply": {"address": dict, "channel": dict, "messages": list},
    "reply address": {"location!": str, "description": str},
    "exchange": {"name": str, "type": str, "durable": bool, "autoDelete": bool, "vhost": str},
    "kafka": {"topic": str, "partitions": int, "replicas": int, "topicConfiguration": dict, "bindingVersion": str},
}
KEY = re.compile(r"[a-zA-Z0-9._-]+")


def assert_object(made, kind):
    fields = {name.removesuffix("!"): each for name, each in OBJECTS[kind].items()}
    made = {name: each for name, each in made.items() if not name.startswith("x-")}  # an extension
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
        assert set(channel.get("bindings", {})) <= {"amqp", "kafka"}
        for broker, binding in channel.get("bindings", {}).items():
            assert_object(binding, broker)
            if broker == "amqp":
                assert_object(binding["exchange"], "exchange")
        assert all(list(message) == ["$ref"] for message in channel["messages"].values())
    for operation in document["operations"].values():
        assert_object(operation, "operation")
        assert operation["action"] in ("send", "receive")
        assert_messages_of_channel(operation)
        for broker, binding in operation.get("bindings", {}).items():
            assert_object(binding, f"operation of {broker}")
        if "reply" in operation:
            assert_object(operation["reply"], "reply")
            assert_object(operation["reply"]["address"], "reply address")
            assert_messages_of_channel(operation["reply"])
            # "If address is specified, address of the channel MUST be null or not defined"
            assert resolved(document, operation["reply"]["channel"]["$ref"])["address"] is None
    for message in document["components"]["messages"].values():
        assert_object(message, "message")
        assert message.get("headers", {"type": "object"})["type"] == "object"


def assert_messages_of_channel(made):
    """Fail where the messages of an operation or a reply are not referred to as those of its channel."""
    channel = made["channel"]["$ref"]
    assert channel.startswith("#/channels/")
    # "MUST be a subset of the messages defined in the channel", by references to the channel's own
    assert all(message["$ref"].startswith(f"{channel}/messages/") for message in made["messages"])


async def hello(hub, name: str, item: Item, times: int = 1): ...


GREET = Received(
    "mail.greet", "auth", ("user_created", "user.*"), "evt-auth-mail.greet", "Greet a user.", {"user_created": USER}
)
HELLO = Served("world", "hello", "nameko-rpc", "Greet somebody.", declare("world", "hello", hello))
LOOSE = Served("world", "loose", "nameko-rpc")


def whole():
    """The document of an application that sends, receives and serves."""
    return asyncapi.document([USER, ORDER], "Shop", "1.2.3", [GREET], [HELLO, LOOSE])


def test_the_asyncapi_document_keeps_the_rules_of_its_specification():
    assert_asyncapi(asyncapi.document([USER, ORDER], "Shop", "1.2.3"))
    assert_asyncapi(whole())


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


def test_a_handler_receives_the_message_that_is_sent_and_says_its_queue_on_both_brokers():
    made = whole()
    operation = made["operations"]["receive.mail.greet.user_created"]
    assert (operation["action"], operation["title"]) == ("receive", "mail.greet")
    assert operation["description"] == "Greet a user."
    assert operation["channel"] == made["operations"]["send.auth.user_created"]["channel"]
    assert operation["x-queue"] == "evt-auth-mail.greet"
    assert operation["bindings"]["kafka"]["groupId"]["enum"] == ["evt-auth-mail.greet"]
    assert operation["bindings"]["amqp"]["ack"]


def test_a_pattern_of_a_handler_is_a_channel_of_its_own_whose_events_may_be_anything():
    made = whole()
    channel = made["channels"]["auth.user._"]  # AsyncAPI allows no asterisk in a name
    assert channel["address"] == "auth.events/user.*"
    assert made["components"]["messages"]["auth.user._"]["payload"] == {}
    assert made["operations"]["receive.mail.greet.user._"]["channel"] == {"$ref": "#/channels/auth.user._"}


def test_handlers_of_one_name_and_type_are_operations_that_stay_apart():
    again = Received("mail.greet", "auth", ("user_created",), "another")
    made = asyncapi.document([], "Shop", "1", [GREET, again])
    queues = {name: each["x-queue"] for name, each in made["operations"].items()}
    assert queues["receive.mail.greet.user_created"] == "evt-auth-mail.greet"
    assert queues["receive.mail.greet.user_created-2"] == "another"
    assert "description" not in made["operations"]["receive.mail.greet.user_created-2"]


def test_a_method_has_a_request_with_its_arguments_and_a_reply_to_the_address_that_the_request_names():
    made = whole()
    operation = made["operations"]["serve.world.hello"]
    assert (operation["action"], operation["description"]) == ("receive", "Greet somebody.")
    assert operation["reply"]["address"] == {"location": "$message.header#/reply_to"}
    channel = resolved(made, operation["channel"]["$ref"])
    assert channel["address"] == "nameko-rpc/world.hello"
    request = resolved(made, "#/components/messages/world.hello.request")["payload"]
    arguments = resolved(made, request["properties"]["kwargs"]["$ref"])
    assert (list(arguments["properties"]), arguments["required"]) == (["name", "item", "times"], ["name", "item"])
    answer = resolved(made, "#/components/messages/world.hello.reply")["payload"]
    assert answer["required"] == ["result", "error"]


def test_the_arguments_of_a_method_whose_hints_do_not_declare_them_may_be_anything():
    made = whole()
    request = resolved(made, "#/components/messages/world.loose.request")["payload"]
    assert request["properties"]["kwargs"] == {"type": "object"}
    assert "description" not in made["operations"]["serve.world.loose"]


def test_a_declared_event_that_is_received_and_not_sent_has_its_schema_too():
    made = asyncapi.document([], "Shop", "1", [GREET])
    payload = resolved(made, made["components"]["messages"]["auth.user_created"]["payload"]["$ref"])
    assert list(payload["properties"]) == ["username", "email", "plan"]
