"""Records: turns a record of Kafka into a received event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from evbus_like import speedups
from evbus_like.engine.cloudevents import MARKS, peeked, with_trace
from evbus_like.engine.event import MAX_ROUTING_KEY, readable
from evbus_like.engine.receiving.received import BodilessEvent, ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.kafka.offsets import Partition

TYPE_HEADER = "evbus-routing-key"
ONLY = "evbus-only"  # names the one queue that a replayed record is for
NOTHING: dict[str, Any] = {}
MOST_KEYS = 1000  # in the cache of a partition
MOST_TYPES = 10_000  # in the cache: a key may be taken for a type, and there are many keys


def text(value: bytes | None) -> Any:
    """Give a header's value as text; bytes that are not UTF-8 stay bytes, None stays None."""
    try:
        return value.decode() if value is not None else None
    except UnicodeDecodeError:
        return value


def fields(headers: Sequence[tuple[str, bytes | None]]) -> tuple[str, str, str, dict[str, Any]] | None:
    """Return the type, the id and the content type of an event, and its other headers, from those of a record.

    Those that are missing are empty. None if one is no UTF-8, is repeated, or one of the first three is not short.
    """
    if not isinstance(headers, list):
        return None
    try:
        found: dict[str, Any] = {name: value.decode() for name, value in headers}
    except (UnicodeDecodeError, AttributeError):  # the last is for None
        return None
    if len(found) != len(headers):
        return None
    own = found.pop(TYPE_HEADER, ""), found.pop("evbus-id", ""), found.pop("content-type", "")
    return (*own, found) if len(max(own, key=len)) <= MAX_ROUTING_KEY else None


class Reader:
    """Makes the events of one subscription from records."""

    def __init__(self, subscription: Subscription, everything: bool = False) -> None:
        self._service = subscription.source
        self._queue = subscription.queue
        self._everything = everything
        self._wants = _cached(subscription.wants)

    def event(self, record: Any, partition: Partition) -> ReceivedEvent | None:
        """Give a record's event; None if its type is not wanted, or it was replayed for another handler.

        The type is the header `evbus-routing-key`, else that of a CloudEvent, else the key, else the topic. Types, ids
        and content types are remembered and logged, so they must be short: longer ones are none.
        """
        topic, key, value = record.topic, record.key, record.value
        found = record.fields() if type(record) is speedups.Record else fields(record.headers)
        if found is not None and found[0] and (not found[3] or MARKS.isdisjoint(found[3])):
            event_type, event_id, content_type, headers = found
        else:
            event_type, event_id, content_type, headers = self._fields(record)
        only = headers.pop(ONLY, None) if headers else None
        if not (only == self._queue if only is not None else self._wants(event_type)) and not self._everything:
            return None
        timestamp, order, readable_key = record.timestamp, None, None
        if key is not None:
            made = partition.keys.get(key)
            if made is None:
                made = ((topic, record.partition, key), readable(key))
                if len(key) <= MAX_ROUTING_KEY:
                    if len(partition.keys) >= MOST_KEYS:
                        partition.keys.clear()
                    partition.keys[key] = made
            order, readable_key = made
        event = (ReceivedEvent if value is not None else BodilessEvent)(
            value or b"",
            event_type,
            self._service,
            event_id,
            headers,
            content_type,
            timestamp / 1000 if timestamp > 0 else 0.0,
            False,  # by position, as names cost a tenth of all this
            1,
            order,
            (partition, record),
            "",
            "",
            "",
            readable_key,
        )
        if value is None:
            event.problem = _problem(record)  # type: ignore[attr-defined]
        return event

    @staticmethod
    def _fields(record: Any) -> tuple[str, str, str, dict[str, Any]]:
        """Return what `fields` does for any headers, and for another program's, which have no type."""
        headers = {name: text(value) for name, value in record.headers}
        if len(headers) != len(record.headers):
            headers = _with_repeats(record.headers)
        event_type, own = _take_header(headers, TYPE_HEADER), NOTHING
        if not event_type:  # another program's, or one that was put without a service
            own = peeked(headers, headers.get("content-type"), record.value)
            event_type = own.get("type") or _key_text(record.key) or record.topic
        if not MARKS.isdisjoint(headers):
            headers = with_trace(headers)
        event_id = _take_header(headers, "evbus-id") or own.get("id", "")
        return event_type, event_id, _take_header(headers, "content-type"), headers


def _problem(record: Any) -> str:
    """Say where a record is that cannot be read, and why; empty for a record without a body."""
    problem = getattr(record, "problem", "")
    where = f"topic {record.topic!r}, partition {record.partition}, offset {record.offset}"
    return problem and f"the record at {where} cannot be read: {problem}"


def _with_repeats(given: Sequence[tuple[str, bytes | None]]) -> dict[str, Any]:
    """Give headers of which some are repeated: the values of such a name are a list, in their order."""
    found: dict[str, list[Any]] = {}
    for name, value in given:
        found.setdefault(name, []).append(text(value))
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _take_header(headers: dict[str, Any], name: str) -> str:
    """Move a header to a field of the event; what is not short text, or is repeated, stays in the headers as well."""
    value = headers.get(name, "")
    if type(value) is str and len(value) <= MAX_ROUTING_KEY:  # most
        headers.pop(name, None)
        return value
    if not isinstance(value, str):
        texts = [each for each in value if isinstance(each, str)] if isinstance(value, list) else ()
        return texts[-1] if texts and len(texts[-1]) <= MAX_ROUTING_KEY else ""
    return ""


def _key_text(key: bytes | None) -> str:
    try:
        return key.decode() if key and len(key) <= MAX_ROUTING_KEY else ""
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
