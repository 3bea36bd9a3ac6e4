"""How cost grows: `python -m benchmarks.growth [--quick] [--only NAME ...] [--rounds N]`.

Each curve is a leg that is run at several sizes. The figures are kept in results/growth.json, and the pictures of the
page are drawn from them; with --only, those of the other curves stay. A full run takes an hour, 5 GB of memory and
20 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import growth_chart
from benchmarks.brokers import Brokers
from benchmarks.curves import CURVES, FIGURES, Curve
from benchmarks.growth_chart import short
from benchmarks.model import Group, Leg
from benchmarks.runner import BenchmarkError, Runner

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PICTURES = HERE.parent / "docs" / "pictures"
LEG_SECONDS = 7200.0  # 10 GB, on a slow disk
FEWER = 20  # a quick run has so many times fewer events

Found = dict[str, dict[str, dict[str, float]]]  # by case, size and figure


def measured(curve: Curve, runner: Runner) -> Found:
    """Run the legs of a curve, and give the medians of its figures."""
    legs: dict[tuple[str, int], Leg] = {}
    for size in curve.quick if runner.quick else curve.sizes:
        for case in curve.cases:
            if size <= case.most:
                count = case.events(size)
                fewer = count if case.of_size else count // FEWER
                options = {**case.options, curve.by: size}
                legs[case.name, size] = Leg(
                    f"{case.name}, {size:,}",
                    case.script,
                    fewer,
                    count,
                    queues=case.queues,
                    topics=case.topics,
                    options=options,
                )
    runs = runner.run(Group(curve.name, tuple(legs.values()), (), 1, 1, curve.brokers))
    found: Found = {}
    for (name, size), leg in legs.items():
        wanted = sorted({line.figure for panel in curve.panels for line in panel.lines if line.case == name})
        figures = {each: median(FIGURES[each](size, run) for run in runs[leg.name]) for each in wanted}
        found.setdefault(name, {})[str(size)] = figures
    return found


def facts() -> dict[str, Any]:
    """Give what the figures depend on."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }


def kept(place: Path) -> dict[str, Any]:
    """Give the results of earlier runs, by curve."""
    found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}
    return found


def keep(place: Path, name: str, found: dict[str, Any]) -> None:
    """Keep the results of a curve, beside those of the others."""
    text = json.dumps(kept(place) | {name: found}, indent=1, sort_keys=True)
    place.write_text(text + "\n", encoding="utf-8")


def draw(found: dict[str, Any], folder: Path) -> None:
    """Draw the pictures of all curves that have results."""
    for name, of_curve in found.items():
        for theme in growth_chart.THEMES:
            picture = growth_chart.draw(CURVES[name], of_curve["figures"], theme)
            (folder / f"growth-{name}-{theme}.svg").write_text(picture, encoding="utf-8")


def main() -> int:
    """Run the curves, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, which show no bend: a minute, nothing kept")
    parser.add_argument("--only", action="append", metavar="NAME", choices=CURVES, help=", ".join(CURVES))
    parser.add_argument("--rounds", type=int, default=1, help="the figures are the medians of so many rounds")
    parser.add_argument(
        "--draw", action="store_true", help="draw the pictures of the last results, and measure nothing"
    )
    asked = parser.parse_args()
    place = RESULTS / "growth.json"
    found: dict[str, Any] = {}
    curves = [] if asked.draw else [curve for curve in CURVES.values() if not asked.only or curve.name in asked.only]
    try:
        with Brokers({broker for curve in curves for broker in curve.brokers}) as brokers:
            runner = Runner(brokers, asked.quick, asked.rounds, LEG_SECONDS)
            for curve in curves:
                found[curve.name] = facts() | {"figures": measured(curve, runner)}
                if not asked.quick:  # a long run that ends too early has kept what it has
                    keep(place, curve.name, found[curve.name])
    except BenchmarkError as error:
        print(f"the benchmark is void: {error}", file=sys.stderr)
        return 1
    for name, of_curve in (found or kept(place)).items():
        print(text(CURVES[name], of_curve["figures"]))
    if not asked.quick:
        draw(kept(place), PICTURES)
    return 0


def text(curve: Curve, found: Found) -> str:
    """Give the figures of a curve as a table: a line for each of the picture's, a column for each size."""
    sizes = sorted({int(size) for figures in found.values() for size in figures})
    lines = [f"{curve.name}: {curve.axis:<40}" + "".join(f"{size:>16,}" for size in sizes)]
    for panel in curve.panels:
        for line in panel.lines:
            at = found[line.case]
            cells = [f"{short(at[str(size)][line.figure]):>16}" if str(size) in at else " " * 16 for size in sizes]
            lines.append(f"  {panel.title + ', ' + line.label:<50}" + "".join(cells))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
