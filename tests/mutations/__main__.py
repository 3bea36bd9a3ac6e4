"""`python -m tests.mutations`: break promises on purpose, one by one, and check that a test notices."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.mutations.listing import MUTANTS, chosen, markdown
from tests.mutations.mutant import Mutant
from tests.mutations.trial import Result, copy_of_tree, pytest_in, trial

LIMIT = 60.0  # seconds for a unit test that a broken promise may hang
LIMIT_BROKERS = 240.0  # where brokers have to start first


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check and give the exit code: 0 if every mutant was noticed, 1 if one survived, 2 if it could not run."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="a name or a test; repeatable")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--list", action="store_true", help="only print the list, as Markdown")
    parser.add_argument("--diff", action="store_true", help="only show what each of them changes")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="how many at a time; those with brokers: one")
    options = parser.parse_args(arguments)
    mutants = chosen(options.only)
    if not mutants:
        parser.error(f"no mutant fits; they are: {', '.join(mutant.name for mutant in MUTANTS)}")
    if options.list:
        print(markdown(mutants), end="")
        return 0
    if options.diff:
        print("\n\n".join(mutant.diff() for mutant in mutants))
        return 0
    if failure := unbroken(mutants):
        print(failure, file=sys.stderr)
        return 2
    results = []
    for result in trials(mutants, options.jobs):
        results.append(result)
        if not options.json:
            print(line(results[-1]), flush=True)
    verdicts = [result.verdict for result in results]
    if options.json:
        print(json.dumps([result.as_dict() for result in results], indent=2))
    else:
        print(f"{verdicts.count('noticed')} of {len(verdicts)} noticed, {verdicts.count('skipped')} skipped")
    return 1 if "survived" in verdicts else 2 if "error" in verdicts else 0


def trials(mutants: Sequence[Mutant], jobs: int) -> Iterator[Result]:
    """Try the mutants, several at a time, and then one by one those whose tests start brokers."""
    without = [mutant for mutant in mutants if not mutant.needs_brokers]
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda mutant: trial(mutant, LIMIT), without)
    for mutant in mutants:
        if mutant.needs_brokers:
            yield trial(mutant, LIMIT_BROKERS)


def unbroken(mutants: Sequence[Mutant]) -> str:
    """Run the tests on the unchanged tree; gives what is wrong with them, or nothing."""
    tests = sorted({mutant.test for mutant in mutants})
    limit = sum(LIMIT_BROKERS if mutant.needs_brokers else LIMIT for mutant in mutants)
    with copy_of_tree() as tree:
        code, output = pytest_in(tree, tests, limit)
    if code == 0:
        return ""
    return f"{output}\nthe tests do not pass on the unchanged tree (exit code {code}): fix that first"


def line(result: Result) -> str:
    """Give the result of a mutant in a line, with the reason."""
    text = f"{result.verdict:8} {result.seconds:5.1f} s  {result.mutant.name}: {result.mutant.breaks}"
    if result.verdict == "noticed":
        return f"{text}\n{'':19}{result.reason[:120]}"
    if result.verdict == "survived":
        return f"{text}\n{'':19}{result.mutant.test} did not notice; write a test that does"
    return f"{text}\n{result.output}"


if __name__ == "__main__":
    sys.exit(main())
