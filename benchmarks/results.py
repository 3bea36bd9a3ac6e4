"""From runs to results: medians, ratios, verdicts, and the facts of the machine; plain data, for JSON."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from statistics import median
from typing import Any

from benchmarks import venvs
from benchmarks.model import Group, figure
from benchmarks.runner import Run
from tests.interop import venv as interop

NAMED = ("evbus-like", "pop", "orjson", "aiormq", "aio-pika", "aiokafka")
PEERS = (
    *NAMED,
    "pop-evbus",
    "evbus-pika",
    "evbus-kafka",
    "faststream",
    "confluent-kafka",
    "kombu",
    "nameko",
    "eventlet",
)


def of_group(group: Group, runs: dict[str, list[Run]]) -> dict[str, Any]:
    """Give the results of one group."""
    rows = []
    for row in group.rows:
        measured = row.measured(runs)
        rows.append(
            {
                "title": row.title,
                "leg": row.leg,
                "peers": list(row.peers),
                "figure": row.figure,
                "target": row.target,
                "measured": measured,
                "by_cpu": row.by_cpu(runs),
                "reached": row.reached(measured),
            }
        )
    return {"name": group.name, "rows": rows, "legs": [_of_leg(name, list_) for name, list_ in runs.items()]}


def _of_leg(name: str, runs: list[Run]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": name,
        "events": runs[0]["events"],
        "seconds": median(run["seconds"] for run in runs),
        "peak": median(run["peak"] for run in runs),
        "cpu": median(run["cpu"] for run in runs),
        "runs": runs,
    }
    if found["events"]:
        rates = [figure(run, "rate") for run in runs]
        found |= {"rate": median(rates), "slowest": min(rates), "fastest": max(rates)}
        found["cpu_per_event"] = median(run["cpu"] / run["events"] for run in runs)
    return found


def facts(quick: bool) -> dict[str, Any]:
    """Give what the figures depend on."""
    versions = {}
    for name in (venvs.OURS, *venvs.sections(), venvs.NAMEKO):
        try:
            found = venvs.versions(name)
        except interop.Unavailable:
            continue
        versions[name] = {package: found[package] for package in PEERS if package in found}
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "form": "quick" if quick else "full",
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": versions,
    }
