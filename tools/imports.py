"""Read the imports of source files, and measure the graph that they make."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

Graph = Mapping[str, Collection[str]]


@dataclass(frozen=True)
class Import:
    """One imported name; `name` is None for `import module`."""

    line: int
    module: str
    name: str | None = None

    @property
    def full(self) -> str:
        """The module and the name, with a dot between them."""
        return f"{self.module}.{self.name}" if self.name else self.module

    def resolved(self, modules: Collection[str]) -> str | None:
        """Give the module, out of `modules`, that is imported."""
        return next((each for each in (self.full, self.module) if each in modules), None)


def imports(source: str, package: str = "") -> Iterator[Import]:
    """Yield every import of a source text, also those in functions and under TYPE_CHECKING; raises SyntaxError.

    `package` is what relative imports are relative to. `import_module("name")` counts, too.
    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                yield from (Import(node.lineno, alias.name) for alias in node.names)
            case ast.ImportFrom():
                base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                module = ".".join([*base, node.module] if node.module else base)
                yield from (Import(node.lineno, module, alias.name) for alias in node.names)
            case ast.Call(func=ast.Name("import_module") | ast.Attribute(attr="import_module"), args=[first, *_]):
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield Import(node.lineno, first.value)


def modules(root: Path, package: str) -> dict[str, Path]:
    """Give every module of a package, with its file."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def reachable(graph: Graph, start: str) -> set[str]:
    """Give all that can be reached from a node; the node itself only on a circle."""
    seen: set[str] = set()
    todo = list(graph.get(start, ()))
    while todo:
        if (node := todo.pop()) not in seen:
            seen.add(node)
            todo.extend(graph.get(node, ()))
    return seen


def circles(graph: Graph) -> list[list[str]]:
    """Give the groups of nodes that reach one another, each sorted."""
    reach = {node: reachable(graph, node) for node in graph}
    groups = {
        tuple(sorted({node, *(other for other in reach[node] if node in reach.get(other, ()))}))
        for node in graph
        if node in reach[node]
    }
    return [list(group) for group in sorted(groups)]


def floors(graph: Graph) -> int:
    """Give the number of nodes on the longest chain; a circle counts as one node."""
    group_of = {node: group[0] for group in circles(graph) for node in group}
    heights: dict[str, int] = {}

    def height(group: str) -> int:
        if group not in heights:
            members = [node for node in graph if group_of.get(node, node) == group]
            below = {group_of.get(to, to) for node in members for to in graph[node]} - {group}
            heights[group] = 1 + max(map(height, below), default=0)
        return heights[group]

    return max((height(group_of.get(node, node)) for node in graph), default=0)
