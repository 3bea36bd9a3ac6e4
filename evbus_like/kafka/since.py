"""Where a consumer group without committed offsets begins: the option `since`."""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import datetime
from typing import Any

EARLIEST, LATEST = "earliest", "latest"


def problem(since: Any) -> str:
    """Say what is wrong with a `since`; empty if nothing is."""
    if since is None or since in (EARLIEST, LATEST) or isinstance(since, datetime):
        return ""
    if isinstance(since, (int, float)) and not isinstance(since, bool) and since >= 0:
        return ""
    return (
        f"since= is 'earliest', 'latest', an offset (a whole number), a datetime, or seconds since 1970 (a float), not"
        f" {since!r}"
    )


async def offsets(kafka: Any, places: Collection[Any], since: Any) -> dict[Any, int]:
    """Give the offset at which each partition begins for a new group; raises KafkaError.

    The end is looked up first, so that records published after the call are never skipped.
    """
    places = list(places)
    if not places:
        return {}
    if since == EARLIEST:
        return dict(await kafka.beginning_offsets(places))
    ends = dict(await kafka.end_offsets(places))
    if since is None or since == LATEST:
        return ends
    if isinstance(since, int):
        begins = await kafka.beginning_offsets(places)
        return {place: min(max(since, begins[place]), ends[place]) for place in places}
    seconds = since.timestamp() if isinstance(since, datetime) else since
    if seconds > time.time():
        return ends
    found = await kafka.offsets_for_times(dict.fromkeys(places, int(seconds * 1000)))
    return {place: ends[place] if found[place] is None else found[place].offset for place in places}
