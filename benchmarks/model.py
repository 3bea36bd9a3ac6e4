"""What the benchmark is made of: legs that are run, rows that compare them, groups of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from benchmarks.venvs import OURS


@dataclass(frozen=True)
class Leg:
    """One thing that is measured: a script of legs/, in its environment, with so many events in each form.

    `quick` is None for a leg of full runs alone: its rows have no target, or none that a short run could tell.
    """

    name: str
    script: str
    quick: int | None
    full: int
    venv: str = OURS
    queues: int = 0
    topics: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One line of the table: a leg's figure, as a ratio to its peer's or, without a peer, by itself.

    Two peers stand for the same deliveries made one leg after the other. The ratio is the median over the rounds of
    the ratio within a round, so that a drift of the machine does not matter. Without a target a row is information.
    """

    title: str
    leg: str
    peers: tuple[str, ...] = ()
    figure: str = "rate"
    at_least: float | None = None
    at_most: float | None = None

    def measured(self, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> float:
        """Give the row's value from the runs of its group, by leg, in the order of the rounds."""
        values = []
        for number, run in enumerate(runs[self.leg]):
            value = figure(run, self.figure)
            if self.peers:
                value /= _together([figure(runs[peer][number], self.figure) for peer in self.peers])
            values.append(value)
        return median(values)

    def by_cpu(self, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> float | None:
        """Give the same ratio of CPU seconds an event; for rates beside one peer, where waiting is no part of it.

        It holds on a busy machine too, but it knows nothing of a broker's time, nor of one core beside another.
        """
        if self.figure != "rate" or len(self.peers) != 1:
            return None
        own, other = runs[self.leg], runs[self.peers[0]]
        return median(_cpu(theirs) / _cpu(ours) for ours, theirs in zip(own, other, strict=True))

    def reached(self, value: float) -> bool | None:
        """Whether the target is reached; None for a row that has none."""
        if self.at_least is not None:
            return value >= self.at_least
        return value <= self.at_most if self.at_most is not None else None

    @property
    def target(self) -> str:
        """The target, for people."""
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else ""


@dataclass(frozen=True)
class Group:
    """Legs that are run in turn, A B C A B C, so that each row's legs have the same weather."""

    name: str
    legs: tuple[Leg, ...]
    rows: tuple[Row, ...]
    quick_rounds: int
    full_rounds: int
    brokers: tuple[str, ...] = ()

    def without(self, venv: str) -> Group:
        """Give the group without the legs of an environment that cannot be had, and without their rows."""
        return self._only(lambda leg: leg.venv != venv)

    def for_quick(self) -> Group:
        """Give the group without the legs of full runs alone, and without their rows."""
        return self._only(lambda leg: leg.quick is not None)

    def _only(self, wanted: Callable[[Leg], bool]) -> Group:
        legs = tuple(each for each in self.legs if wanted(each))
        there = {each.name for each in legs}
        return replace(self, legs=legs, rows=tuple(each for each in self.rows if {each.leg, *each.peers} <= there))


def figure(run: Mapping[str, Any], name: str) -> float:
    """Give a figure of one run: "rate" is deliveries a second; the others are fields of the leg's line."""
    if name == "rate":
        return float(run.get("deliveries", run["events"]) / run["seconds"])
    value = run[name]
    return float(len(value) if isinstance(value, list) else value)


def _cpu(run: Mapping[str, Any]) -> float:
    return float(run["cpu"] / run.get("deliveries", run["events"]))


def _together(values: list[float]) -> float:
    """Give the rate of equally many deliveries at each of these rates, one after the other."""
    return len(values) / sum(1 / value for value in values)
