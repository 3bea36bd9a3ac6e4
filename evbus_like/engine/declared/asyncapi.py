"""AsyncAPI 3.0 of declared events: https://www.asyncapi.com/docs/reference/specification/v3.0.0."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from evbus_like.engine.declared import schema
from evbus_like.engine.declared.declaration import Declaration
from evbus_like.engine.event import SERVICE_HEADER, events_of

UNFIT = re.compile(
    r"[^A-Za-z0-9._-]"
)  # not allowed in names of channels and messages (the specification's Components Object)


def document(declarations: Sequence[Declaration], title: str, version: str) -> dict[str, Any]:
    """Build the document: a channel, a message and an operation for each event, and the schemas of their payloads."""
    names = _names(declarations)
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for name, each in names.items():
        messages[name] = _message(name, each)
        channels[name] = _channel(name, each)
        operations[f"send.{name}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        }
        schemas.update(schema.named(each, "#/components/schemas/", name))
    return {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": version},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


def _names(declarations: Sequence[Declaration]) -> dict[str, Declaration]:
    """Give each event a name that AsyncAPI allows; equal names get a number."""
    names: dict[str, Declaration] = {}
    for each in declarations:
        plain = name = UNFIT.sub("_", each.full_name)
        number = 1
        while name in names:
            number += 1
            name = f"{plain}-{number}"
        names[name] = each
    return names


def _message(name: str, declaration: Declaration) -> dict[str, Any]:
    headers = {"type": "object", "properties": {SERVICE_HEADER: {"type": "string", "const": declaration.service}}}
    made: dict[str, Any] = {"name": declaration.name, "title": declaration.full_name}
    if declaration.doc:
        made["description"] = declaration.doc
    return {**made, "headers": headers, "payload": {"$ref": f"#/components/schemas/{name}"}}


def _channel(name: str, declaration: Declaration) -> dict[str, Any]:
    place = events_of(declaration.service)
    exchange = {"name": place, "type": "topic", "durable": True, "autoDelete": False}
    return {
        "address": f"{place}/{declaration.name}",
        "description": f"Exchange {place}, routing key {declaration.name}; on Kafka the topic {place}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {
            "amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"},
            "kafka": {"topic": place, "bindingVersion": "0.5.0"},
        },
    }
