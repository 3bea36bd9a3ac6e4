"""The attributes of a received CloudEvent, and what they say of the event."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from evbus_like.engine import cloudevents
from evbus_like.engine.handling import current
from evbus_like.engine.receiving.received import BadBody, ReceivedEvent


def take_attributes(event: ReceivedEvent, attributes: dict[str, Any]) -> None:
    """Check the attributes of a CloudEvent; what the source did not know of the event, they say. Raises BadBody."""
    try:
        found = event.cloudevent = cloudevents.checked(attributes)
    except ValueError as error:
        raise BadBody(str(error)) from None
    if not event.id and len(found["id"]) <= cloudevents.LONGEST:
        event.id = found["id"]
    if event.key is None and isinstance(found.get("partitionkey"), str):
        event.key = found["partitionkey"]
    if not event.timestamp and "time" in found:
        event.timestamp = datetime.fromisoformat(found["time"].upper()).timestamp()
    trace = {name: found[name] for name in cloudevents.TRACE if name in found and name not in event.headers}
    if trace:
        event.headers = {**event.headers, **trace}
        under_way = current()
        if under_way is not None and under_way.event is event:
            under_way.carry(event)
