"""Records: turns a record of Kafka into a received event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.kafka.offsets import Partition

TYPE_HEADER = "evbus-routing-key"
MOST_TYPES = 10_000  # in the cache: a key may be taken for a type, and there are many keys


def text(value: bytes | None) -> Any:
    """Give a header's value as text; bytes that are not UTF-8 stay bytes, None stays None."""
    try:
        return value.decode() if value is not None else None
    except UnicodeDecodeError:
        return value


class Reader:
    """Makes the events of one subscription from records."""

    def __init__(self, subscription: Subscription) -> None:
        self._service = subscription.source
        self._wants = _cached(subscription.wants)

    def event(self, record: Any, partition: Partition) -> ReceivedEvent | None:
        """Give a record's event; None if its type is not wanted.

        The type is the header `evbus-routing-key`, else the key, else the topic.
        """
        try:
            headers: dict[str, Any] = {name: value.decode() for name, value in record.headers}
        except (UnicodeDecodeError, AttributeError):  # the last is for None
            headers = {name: text(value) for name, value in record.headers}
        event_type = _take_header(headers, TYPE_HEADER) or _key_text(record.key) or record.topic
        if not self._wants(event_type):
            return None
        return ReceivedEvent(
            record.value or b"",
            event_type,
            self._service,
            _take_header(headers, "evbus-id"),
            headers,
            _take_header(headers, "content-type"),
            record.timestamp / 1000 if record.timestamp > 0 else 0.0,
            order=None if record.key is None else (record.topic, record.partition, record.key),
            token=(partition, record),
        )


def _take_header(headers: dict[str, Any], name: str) -> str:
    """Move a header to a field of the event; a value that is not text stays in the headers."""
    value = headers.get(name, "")
    if not isinstance(value, str):
        return ""
    headers.pop(name, None)
    return value


def _key_text(key: bytes | None) -> str:
    try:
        return key.decode() if key else ""
    except UnicodeDecodeError:
        return ""


def _cached(wants: Callable[[str], bool]) -> Callable[[str], bool]:
    known: dict[str, bool] = {}

    def cached(event_type: str) -> bool:
        wanted = known.get(event_type)
        if wanted is None:
            if len(known) >= MOST_TYPES:
                known.clear()
            wanted = known[event_type] = wants(event_type)
        return wanted

    return cached
