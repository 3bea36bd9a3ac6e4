"""Runs the legs of a group in turn, round after round, each in its own process, and checks what arrived."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import venvs
from benchmarks.brokers import Brokers
from benchmarks.model import Group, Leg, figure

HERE = Path(__file__).parent
WEBHOOKS = HERE.parent / "evbus_like" / "data" / "github-webhooks.ndjson.gz"
LEG_SECONDS = 900.0  # after which a leg is taken for hung

Run = dict[str, Any]


class BenchmarkError(Exception):
    """A leg failed, or what arrived is not what was sent."""


class Runner:
    """Runs groups on the brokers that it is given."""

    def __init__(
        self, brokers: Brokers, quick: bool, rounds: int | None = None, leg_seconds: float = LEG_SECONDS
    ) -> None:
        self.brokers = brokers
        self.quick = quick
        self.rounds = rounds
        self._leg_seconds = leg_seconds
        self._number = 0
        self._environment = venvs.environment()

    def run(self, group: Group) -> dict[str, list[Run]]:
        """Give the runs of every leg, in the order of the rounds; raises BenchmarkError."""
        rounds = self.rounds or (group.quick_rounds if self.quick else group.full_rounds)
        runs: dict[str, list[Run]] = {leg.name: [] for leg in group.legs}
        for number in range(rounds):
            for leg in group.legs:
                run = self._run(leg)
                runs[leg.name].append(run)
                shown = f"{figure(run, 'rate'):>10,.0f} /s" if run["events"] else f"{run['seconds'] * 1000:>10,.0f} ms"
                print(f"{group.name}, round {number + 1} of {rounds}: {leg.name:<32} {shown}", file=sys.stderr)
        return runs

    def _run(self, leg: Leg) -> Run:
        self._number += 1
        queues = [f"bench.{self._number}.{n}" for n in range(leg.queues)]
        topics = [f"bench-{self._number}-{n}" for n in range(leg.topics)]
        asked = {
            "events": leg.quick if self.quick and leg.quick is not None else leg.full,
            "queues": queues,
            "topics": topics,
            "amqp_url": self.brokers.amqp_url,
            "bootstrap": self.brokers.bootstrap,
            "postgres_url": self.brokers.postgres_url,
            "webhooks": str(WEBHOOKS),
            **leg.options,
        }
        self.brokers.make(queues, topics)
        run = self._process(leg, asked)
        arrived = self.brokers.count(queues, topics)
        if run["events"] != asked["events"]:
            raise BenchmarkError(f"{leg.name}: {run['events']} events came through of {asked['events']}")
        if run.get("left"):
            raise BenchmarkError(f"{leg.name}: {run['left']} events too many came through")
        for place, count in arrived.items():
            if count != run["sent"]:
                raise BenchmarkError(f"{leg.name}: {run['sent']} events were sent to {place} and {count} arrived")
        return run

    def _process(self, leg: Leg, asked: dict[str, Any]) -> Run:
        seconds = self._leg_seconds
        command = [venvs.python(leg.venv), str(HERE / "legs" / f"{leg.script}.py"), json.dumps(asked)]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=self._environment)
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f"{leg.name} ({leg.script}) did not end within {seconds:g} s") from None
        if ran.returncode or not ran.stdout.strip():
            raise BenchmarkError(f"{leg.name} ({leg.script}) failed:\n{ran.stderr[-3000:]}")
        result: Run = json.loads(ran.stdout.splitlines()[-1])
        return result
