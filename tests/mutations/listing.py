"""The list of all mutants."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from tests.mutations import calls, lanes, outbox, postgres, receiving, seen, wires
from tests.mutations.mutant import Mutant

MUTANTS = (
    *outbox.MUTANTS,
    *lanes.MUTANTS,
    *receiving.MUTANTS,
    *calls.MUTANTS,
    *wires.MUTANTS,
    *seen.MUTANTS,
    *postgres.MUTANTS,
)


def chosen(patterns: Iterable[str]) -> list[Mutant]:
    """Give the mutants whose name, or whose test, fits one of the patterns; all where there is none."""
    wanted = list(patterns)
    return [
        mutant
        for mutant in MUTANTS
        if not wanted or any(fnmatchcase(mutant.name, each) or fnmatchcase(mutant.test, each) for each in wanted)
    ]


def markdown(mutants: Iterable[Mutant] = MUTANTS) -> str:
    """Give the list as a table of Markdown, for the page of promises."""
    lines = ["| broken on purpose | the promise | noticed by |", "|---|---|---|"]
    for mutant in mutants:
        file, _, test = mutant.test.partition("::")
        lines.append(f"| {mutant.name} | {mutant.breaks} | `{file}`<br>`{test}` |")
    return "\n".join(lines) + "\n"
