"""The interface of an application, as `/interface` answers it: what it declares, handles and serves."""

from __future__ import annotations

from typing import Any, TypedDict


class Event(TypedDict):
    """A declared event; `schema` is the JSON Schema of its body."""

    service: str
    event: str
    profile: str
    about: str
    schema: dict[str, Any]


class Handler(TypedDict):
    """A handler on one source: it handles the `events` of the service `of`; `function` is its place on the hub."""

    handler: str
    of: str
    events: list[str]
    source: str
    delivery: str
    queue: str
    on_error: str
    about: str
    function: str


class Method(TypedDict):
    """A method of a service on one source; `schema` is that of its arguments, null if its hints do not give one."""

    service: str
    method: str
    call: str
    source: str
    about: str
    function: str
    schema: dict[str, Any] | None


class Interface(TypedDict):
    """What runs here: handlers and services as soon as they are started."""

    events: list[Event]
    handlers: list[Handler]
    services: list[Method]


def nothing() -> Interface:
    """Return the interface of a process that has started nothing."""
    return {"events": [], "handlers": [], "services": []}
