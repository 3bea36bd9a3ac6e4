"""The capacity model of `evbus plan` beside a measured run: CPU of an event in our process and in the broker.

    python -m benchmarks.capacity [--rounds 2]

Each case puts events to a broker and handles them in one process. The bare loop is measured in the same round, and what
was measured is scaled by it to the core of evbus_like/cli/plan/costs.py. A ratio of 1 means that the model is right;
above 1, an event cost more than it says. Two minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.brokers import Brokers
from benchmarks.runner import HERE, WEBHOOKS
from evbus_like.cli.plan import costs, model

REFERENCE = 2.5  # microseconds of the bare loop on the core of the model
SIZES = {"small": costs.SMALL, "webhooks": 9887}
CASES: dict[str, dict[str, Any]] = {
    "RabbitMQ, small": {"events": 24_000},
    "RabbitMQ, small, quorum queue": {"events": 24_000, "quorum": True},
    "RabbitMQ, small, 3 handlers": {"events": 12_000, "handlers": 3},
    "RabbitMQ, small, durable": {"events": 8_000, "durable": True},
    "RabbitMQ, webhooks": {"events": 3_000, "body": "webhooks"},
    "Kafka, small": {"events": 48_000, "kafka": True},
    "Kafka, small, 3 handlers": {"events": 16_000, "kafka": True, "handlers": 3},
    "Kafka, webhooks": {"events": 6_000, "body": "webhooks", "kafka": True},
}
COLUMNS = "{:32}{:>10}{:>13}{:>11}{:>8}{:>18}{:>13}"


def main() -> None:
    """Run all cases, and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="how often each case is run")
    rounds = parser.parse_args().rounds
    found: dict[str, list[tuple[float, float, float, int]]] = {name: [] for name in CASES}
    slower = []
    with Brokers({"rabbitmq", "kafka"}) as brokers:
        for number in range(rounds):
            bare = leg("memory_bare", {"events": 60_000})
            slower.append(bare["cpu"] / bare["events"] * 1e6 / REFERENCE)
            for name, case in CASES.items():
                found[name].append(
                    measured(brokers, f"capacity-{number}-{len(name)}-{case['events']}", case, slower[-1])
                )
                print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr)
    print(f"this core takes {median(slower):.1f} times as long as that of the model\n")
    print(COLUMNS.format("", "events/s", "CPU us/event", "the model", "ratio", "broker us/event", "connections"))
    for name, runs in found.items():
        rate, own, broker, connections = (median(each) for each in zip(*runs, strict=True))
        expected = predicted(CASES[name])
        cells = f"{rate:,.0f}", f"{own:.1f}", f"{expected:.1f}", f"{own / expected:.2f}", f"{broker:.1f}"
        print(COLUMNS.format(name, *cells, f"{connections:.0f}"))


def measured(brokers: Brokers, name: str, case: dict[str, Any], slower: float) -> tuple[float, float, float, int]:
    """Run a case; gives events a second, scaled CPU of our process and of the broker for an event, and connections."""
    topics = [name] if case.get("kafka") else []
    brokers.make([], topics)
    before = children()
    run = leg("flow_ours", {**case, "topics": topics, "amqp_url": brokers.amqp_url, "bootstrap": brokers.bootstrap})
    scale = 1e6 / run["events"] / slower
    own, broker = run["cpu"] * scale, (children() - before) * scale
    return run["events"] / run["seconds"], own, broker, run["connections"]


def predicted(case: dict[str, Any]) -> float:
    """Give the model's CPU microseconds for an event of a case."""
    broker = costs.KAFKA if case.get("kafka") else costs.RABBITMQ
    size, handlers = SIZES[case.get("body", "small")], case.get("handlers", 1)
    flow = model.Flow(rate=1.0, size=size, handlers=handlers, durable=case.get("durable", False))
    made = model.plan(flow, broker)
    return made.put_us + handlers * made.handler_us


def leg(script: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Run one script of legs/ and give its line."""
    command = [sys.executable, str(HERE / "legs" / f"{script}.py"), json.dumps({"webhooks": str(WEBHOOKS), **asked})]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if ran.returncode:
        raise SystemExit(f"{script} failed:\n{ran.stderr[-3000:]}")
    line: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return line


def children() -> float:
    """Give the CPU seconds of the processes below this one that run: those of the brokers."""
    parents: dict[int, list[tuple[int, int]]] = {}
    for process in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = process.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append((int(process.parent.name), int(fields[11]) + int(fields[12])))
    total, below = 0, [os.getpid()]
    while below:
        for child, ticks in parents.get(below.pop(), []):
            total += ticks
            below.append(child)
    return total / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
