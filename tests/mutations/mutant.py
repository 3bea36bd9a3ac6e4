"""A mutant: one promise broken on purpose, and the smallest test that is expected to notice."""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

from tests.mutations.change import Change
from tests.mutations.function import Function, find
from tests.mutations.place import Misfit

ROOT = Path(__file__).parents[2]
PACKAGE = "evbus_like"
BROKERS = ("tests/integration/", "tests/faults/", "tests/conformance/")


@dataclass(frozen=True)
class Mutant:
    """A change to a function, which is named with as much of class and module as it takes to tell it from others.

    `breaks` says which promise that breaks; `test` is the node id, for pytest, of what must notice.
    """

    name: str
    breaks: str
    function: str
    change: Change
    test: str

    @property
    def needs_brokers(self) -> bool:
        """Whether its test runs on real brokers."""
        return self.test.startswith(BROKERS)

    def broken(self) -> tuple[Function, ast.stmt]:
        """Give the function, and its syntax tree with the promise broken; raises Misfit."""
        try:
            function = find(self.function, ROOT / PACKAGE)
            changed = copy.deepcopy(function.node)
            self.change.edit(changed)
            if ast.dump(changed) == ast.dump(function.node):
                raise Misfit("the change changes nothing: choose another one")
        except Misfit as misfit:
            raise Misfit(f"the mutant {self.name} ({self.function}, {self.change}) does not fit: {misfit}") from None
        return function, ast.fix_missing_locations(changed)

    def apply(self, tree: Path) -> None:
        """Break the promise in a copy of the tree; raises Misfit."""
        function, changed = self.broken()
        path = tree / function.path.relative_to(ROOT)
        if not path.exists() or path.read_text(encoding="utf-8") != function.source:
            raise Misfit(f"the mutant {self.name}: {path.name} has changed during the run; run it again")
        path.write_text(function.written_as(changed), encoding="utf-8")

    def diff(self) -> str:
        """Show what it changes, without comments, for neither side has them."""
        function, changed = self.broken()
        before, after = (ast.unparse(node).splitlines() for node in (function.node, changed))
        return "\n".join(unified_diff(before, after, function.name, self.name, n=2, lineterm=""))
