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
from tests.interop import venv as interop

HERE = Path(__file__).parent
RESULTS = HERE / "results"
CHARTS = HERE.parent / "docs" / "pictures"


def main() -> int:
    """Run the benchmark and give the exit code: 0 also where targets are missed, 1 where events were."""
    asked = arguments()
    groups = [group for group in GROUPS if not asked.only or group.name in asked.only]
    if asked.quick and not asked.only:
        groups = [left for group in groups if (left := group.for_quick()).legs]
    for name in sorted({leg.venv for group in groups for leg in group.legs}):
        try:
            venvs.python(name)
        except interop.Unavailable as reason:
            print(f"left out: {reason}", file=sys.stderr)
            groups = [group.without(name) for group in groups]
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
    text = f"{table.legs(found)}\n\n{table.rows(found)}\n\n{len(found)} groups in {seconds:.0f} s"
    print(text)
    if not asked.only:
        facts = {**results.facts(asked.quick), "seconds": seconds, "groups": found}
        name = "quick" if asked.quick else "latest"
        write(RESULTS / f"{name}.json", json.dumps(facts, indent=1))
        write(RESULTS / f"{name}.txt", text)
        for theme in chart.PALETTES:
            folder, stem = (RESULTS, "quick") if asked.quick else (CHARTS, "performance")
            write(folder / f"{stem}-{theme}.svg", chart.draw(found, theme))
    return 0


def write(path: Path, text: str) -> None:
    """Write a result and say where."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text.rstrip() + "\n", encoding="utf-8")
    print(f"written: {path.relative_to(HERE.parent)}")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer events, rounds and rows: three minutes")
    parser.add_argument("--rounds", type=int, help="how many rounds, instead of each group's own number")
    names = [group.name for group in GROUPS]
    text = "only this group, and nothing is written; may be repeated: " + "; ".join(names)
    parser.add_argument("--only", action="append", metavar="GROUP", choices=names, help=text)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
