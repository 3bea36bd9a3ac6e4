"""The command: `python -m benchmarks [--quick] [--only GROUP ...] [--rounds N]`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from time import perf_counter

from benchmarks import chart, results, table, venvs
from benchmarks.brokers import Brokers
from benchmarks.rows import GROUPS
from benchmarks.runner import BenchmarkError, Runner

HERE = Path(__file__).parent
LATEST = HERE / "results" / "latest.json"
QUICK_CHART = HERE / "results" / "quick.svg"
CHART = HERE.parent / "docs" / "performance.svg"


def main() -> int:
    """Run the benchmark and give the exit code: 0 also where targets are missed, 1 where events were."""
    asked = arguments()
    groups = [group for group in GROUPS if not asked.only or group.name in asked.only]
    for name in sorted({leg.venv for group in groups for leg in group.legs}):
        venvs.python(name)
    start = perf_counter()
    found = []
    try:
        with Brokers({broker for group in groups for broker in group.brokers}) as brokers:
            runner = Runner(brokers, asked.quick, asked.rounds)
            for group in groups:
                found.append(results.of_group(group, runner.run(group)))
    except BenchmarkError as error:
        print(f"the benchmark is void: {error}", file=sys.stderr)
        return 1
    seconds = perf_counter() - start
    print(f"{table.legs(found)}\n\n{table.rows(found)}\n\n{len(found)} groups in {seconds:.0f} s")
    if not asked.only:
        LATEST.parent.mkdir(exist_ok=True)
        LATEST.write_text(
            json.dumps({**results.facts(asked.quick), "seconds": seconds, "groups": found}, indent=1) + "\n"
        )
        drawing = QUICK_CHART if asked.quick else CHART
        drawing.write_text(chart.draw(found))
        print(f"written: {LATEST.relative_to(HERE.parent)}, {drawing.relative_to(HERE.parent)}")
    return 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer events and rounds: three minutes")
    parser.add_argument("--rounds", type=int, help="how many rounds, instead of each group's own number")
    names = [group.name for group in GROUPS]
    text = "only this group, and nothing is written; may be repeated: " + "; ".join(names)
    parser.add_argument("--only", action="append", metavar="GROUP", choices=names, help=text)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
