"""Dispatching: an event of a service is one whose headers name it; its routing key is the event's type.

The names are nameko's: service "users", event type "created".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evbus_like.engine.errors import BadEvent
from evbus_like.engine.event import MAX_SERVICE, SERVICE_HEADER


def service_headers(service: Any, event_type: Any, headers: Any = None) -> dict[str, Any]:
    """Give the headers of an event of a service, with the caller's own; raises BadEvent.

    A service that the caller's headers name, as those of an event that was received do, gives way.
    """
    for what, value in (("service", service), ("event_type", event_type)):
        if not isinstance(value, str):
            raise BadEvent(f"{what} must be a string, not {type(value).__name__}: dispatch(service, event_type, body)")
        if not value:
            raise BadEvent(f"{what} is empty; dispatch(service, event_type, body) needs the name of a {what}")
    if len(service.encode(errors="replace")) > MAX_SERVICE:
        raise BadEvent(f"service is longer than {MAX_SERVICE} bytes: {service[:40]!r}...")
    if headers is not None and not isinstance(headers, Mapping):
        raise BadEvent(f"headers must be a mapping of names to plain values, not {type(headers).__name__}")
    return {**(headers or {}), SERVICE_HEADER: service}
