"""The rows of several processes as one table: counts are summed, states are listed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from evbus_like.engine.histogram import Durations
from evbus_like.monitor.document import Process, Status

LARGEST = ("oldest_age", "shards")  # the others are sums
DURATIONS = ("running", "publish", "answered")
COUNTERS = ("dropped", "dead_reasons")
Rows = dict[str, dict[str, Any]]


def destinations(status: Status) -> Rows:
    """Return one row for each destination; those whose profile was removed only as long as they hold something."""
    found = _rows(status, lambda process: process["bus"]["destinations"], lambda name, row: name)
    return {name: row for name, row in found.items() if row["state"] != "closed" or row["waiting"]}


def handlers(status: Status) -> Rows:
    """Return one row for each handler and service on each source."""
    found: Rows = {}
    for rows in (lambda process: process["handlers"], lambda process: process["services"]):
        found |= _rows(status, rows, lambda _, row: f"{row['handler']} on {row['source']}")
    return found


def stores(status: Status) -> Rows:
    """Return one row for each database in which the application stores events."""
    return _rows(status, lambda process: process["bus"].get("postgres", {}), lambda name, row: f"postgres:{name}")


def _rows(
    status: Status,
    rows: Callable[[Process], Mapping[str, Any]],
    name_of: Callable[[str, Any], str],
) -> Rows:
    found: dict[str, list[Any]] = {}
    for process in status["processes"]:
        for name, row in rows(process).items():
            found.setdefault(name_of(name, row), []).append(row)
    return {name: _merged(same) for name, same in found.items()}


def _merged(rows: list[Any]) -> dict[str, Any]:
    merged: dict[str, Any] = dict(rows[0])
    for row in rows[1:]:
        for name, value in row.items():
            if name in LARGEST:
                merged[name] = max(merged[name], value)
            elif isinstance(value, (int, float)):
                merged[name] = (merged[name] or 0) + value  # a lag may be None
            elif name in DURATIONS:
                merged[name] = added(merged[name], value)
            elif name == "reads":
                merged[name] = sorted({*merged[name], *value})
            elif name == "trouble":
                merged[name] = merged[name] or value
            elif name in COUNTERS:
                merged[name] = dict(Counter(merged[name]) + Counter(value))
    merged["state"] = states(row["state"] for row in rows)
    return merged


def added(one: Durations, other: Durations) -> Durations:
    """Return one histogram of both."""
    buckets = {bound: count + other["buckets"][bound] for bound, count in one["buckets"].items()}
    return {"count": one["count"] + other["count"], "sum": one["sum"] + other["sum"], "buckets": buckets}


def states(each: Iterable[str]) -> str:
    """Return one state for all that are in the same, else how many are in which."""
    counts = Counter(each)
    return next(iter(counts)) if len(counts) == 1 else ", ".join(f"{count} {name}" for name, count in counts.items())
