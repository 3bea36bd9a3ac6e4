"""AsyncAPI 3.0 of an application: https://www.asyncapi.com/docs/reference/specification/v3.0.0.

It has what the application sends (its declared events), receives (its handlers) and serves (its methods).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evbus_like.engine.declared import schema
from evbus_like.engine.declared.declaration import Declaration
from evbus_like.engine.event import SERVICE_HEADER, events_of

UNFIT = re.compile(
    r"[^A-Za-z0-9._-]"
)  # not allowed in names of channels and messages (the specification's Components Object)
REPLY_TO = "$message.header#/reply_to"


@dataclass(frozen=True)
class Received:
    """A handler: it gets the events `types` of the service `of` through `queue`; `declared` are those declared here."""

    handler: str
    of: str
    types: Sequence[str]
    queue: str
    about: str = ""
    declared: Mapping[str, Declaration] = field(default_factory=dict)


@dataclass(frozen=True)
class Served:
    """A method of a service; `arguments` declares them by name, None if its hints cannot."""

    service: str
    method: str
    exchange: str
    about: str = ""
    arguments: Declaration | None = None


class _Document:
    def __init__(self) -> None:
        self.channels: dict[str, Any] = {}
        self.operations: dict[str, Any] = {}
        self.messages: dict[str, Any] = {}
        self.schemas: dict[str, Any] = {}
        self._events: dict[tuple[str, str], str] = {}  # names of events, by service and type

    def event(self, service: str, event_type: str, declaration: Declaration | None) -> str:
        """Return the name of an event's channel and message, made when it is first needed."""
        name = self._events.get((service, event_type))
        if name is None:
            name = self._events[service, event_type] = _free(f"{service}.{event_type}", self.channels)
            payload = {"$ref": f"#/components/schemas/{name}"} if declaration is not None else {}
            self.messages[name] = _message(service, event_type, payload, declaration.doc if declaration else "")
            self.channels[name] = _channel(name, service, event_type)
            if declaration is not None:
                self.schemas.update(schema.named(declaration, "#/components/schemas/", name))
        return name

    def send(self, declaration: Declaration) -> None:
        """Add the operation of a declared event."""
        name = self.event(declaration.service, declaration.name, declaration)
        self.operations[f"send.{name}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        }

    def receive(self, handler: Received) -> None:
        """Add an operation for each of a handler's types; a pattern is one that is declared nowhere."""
        for event_type in handler.types:
            name = self.event(handler.of, event_type, handler.declared.get(event_type))
            operation = {
                "action": "receive",
                "title": handler.handler,
                **({"description": handler.about} if handler.about else {}),
                "channel": {"$ref": f"#/channels/{name}"},
                "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
                "bindings": {
                    "amqp": {"ack": True, "bindingVersion": "0.3.0"},
                    "kafka": {"groupId": {"type": "string", "enum": [handler.queue]}, "bindingVersion": "0.5.0"},
                },
                "x-queue": handler.queue,
            }
            self.operations[_free(f"receive.{handler.handler}.{event_type}", self.operations)] = operation

    def serve(self, method: Served) -> None:
        """Add the operation of a method: its request, and the reply to the address that the request names."""
        called = f"{method.service}.{method.method}"
        name, answer = _free(f"{called}.request", self.channels), _free(f"{called}.reply", self.channels)
        arguments: dict[str, Any] = {"type": "object"}
        if method.arguments is not None:
            arguments = {"$ref": f"#/components/schemas/{name}"}
            self.schemas.update(schema.named(method.arguments, "#/components/schemas/", name))
        self.messages[name] = {
            "name": called,
            "title": f"A request to {called}",
            "payload": {
                "type": "object",
                "properties": {"args": {"type": "array"}, "kwargs": arguments},
                "required": ["args", "kwargs"],
            },
        }
        self.messages[answer] = {"name": f"{called}.reply", "title": f"An answer of {called}", "payload": ANSWER}
        self.channels[name] = _rpc_channel(name, called, method.exchange)
        self.channels[answer] = {
            "address": None,
            "description": f"The exchange {method.exchange}, with the request's reply_to as the routing key",
            "messages": {answer: {"$ref": f"#/components/messages/{answer}"}},
        }
        self.operations[_free(f"serve.{called}", self.operations)] = {
            "action": "receive",
            "title": called,
            **({"description": method.about} if method.about else {}),
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
            "reply": {
                "address": {"location": REPLY_TO},
                "channel": {"$ref": f"#/channels/{answer}"},
                "messages": [{"$ref": f"#/channels/{answer}/messages/{answer}"}],
            },
        }


ANSWER = {
    "type": "object",
    "properties": {
        "result": {},
        "error": {
            "oneOf": [
                {"type": "null"},
                {
                    "type": "object",
                    "properties": {
                        "exc_type": {"type": "string"},
                        "exc_path": {"type": ["string", "null"]},
                        "exc_args": {"type": "array"},
                        "value": {"type": "string"},
                        "code": {},
                    },
                    "required": ["exc_type", "value"],
                },
            ]
        },
    },
    "required": ["result", "error"],
}


def document(
    declarations: Sequence[Declaration],
    title: str,
    version: str,
    received: Iterable[Received] = (),
    served: Iterable[Served] = (),
) -> dict[str, Any]:
    """Build the document: channels and messages, an operation for each event, handler and method, and the schemas."""
    made = _Document()
    for each in declarations:
        made.send(each)
    for handler in received:
        made.receive(handler)
    for method in served:
        made.serve(method)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": version},
        "defaultContentType": "application/json",
        "channels": made.channels,
        "operations": made.operations,
        "components": {"messages": made.messages, "schemas": made.schemas},
    }


def _free(wanted: str, taken: Mapping[str, Any]) -> str:
    """Return a name that AsyncAPI allows and that is not taken: equal names get a number."""
    plain = name = UNFIT.sub("_", wanted)
    number = 1
    while name in taken:
        number += 1
        name = f"{plain}-{number}"
    return name


def _message(service: str, event_type: str, payload: dict[str, Any], doc: str) -> dict[str, Any]:
    headers = {"type": "object", "properties": {SERVICE_HEADER: {"type": "string", "const": service}}}
    made: dict[str, Any] = {"name": event_type, "title": f"{service}.{event_type}"}
    if doc:
        made["description"] = doc
    return {**made, "headers": headers, "payload": payload}


def _channel(name: str, service: str, event_type: str) -> dict[str, Any]:
    place = events_of(service)
    exchange = {"name": place, "type": "topic", "durable": True, "autoDelete": False}
    return {
        "address": f"{place}/{event_type}",
        "description": f"Exchange {place}, routing key {event_type}; on Kafka the topic {place}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {
            "amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"},
            "kafka": {"topic": place, "bindingVersion": "0.5.0"},
        },
    }


def _rpc_channel(name: str, called: str, exchange: str) -> dict[str, Any]:
    binding = {"name": exchange, "type": "topic", "durable": True, "autoDelete": False}
    return {
        "address": f"{exchange}/{called}",
        "description": f"Exchange {exchange}, routing key {called}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {"amqp": {"is": "routingKey", "exchange": binding, "bindingVersion": "0.3.0"}},
    }
