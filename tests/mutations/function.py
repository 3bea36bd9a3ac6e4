"""A function of the package, found by its name in any file, and rewritten there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.mutations.place import Misfit


@dataclass(frozen=True)
class Function:
    """A function: its full name, with package, module and class, its file, that file's text, and its syntax tree."""

    name: str
    path: Path
    source: str
    node: ast.FunctionDef | ast.AsyncFunctionDef

    def written_as(self, node: ast.stmt) -> str:
        """Give the text of the file with another function in place of this one, otherwise unchanged."""
        first = min(each.lineno for each in (self.node, *self.node.decorator_list))
        depth = self.node.col_offset // 4
        for _ in range(depth):  # ast.unparse indents, and leaves the lines of long texts alone
            node = ast.If(ast.Constant(True), [node], [])
        text = ast.unparse(node).split("if True:\n", depth)[-1].strip("\n")
        lines = self.source.splitlines(keepends=True)
        return "".join([*lines[: first - 1], f"{text}\n", *lines[self.node.end_lineno :]])


def find(name: str, package: Path) -> Function:
    """Find the one function whose full name ends with a name: `lane.Lane.take`, or `Lane.take`; raises Misfit."""
    alike = _index(package).get(name.rpartition(".")[2], [])
    found = [function for function in alike if f".{function.name}".endswith(f".{name}")]
    if len(found) == 1:
        return found[0]
    if found:
        which = " or ".join(function.name for function in found)
        raise Misfit(f"{name} may be {which}: put the class or the module before it")
    others = f" (there is {', '.join(function.name for function in alike)})" if alike else ""
    raise Misfit(f"the package has no function {name}{others}: give the name that it has now")


@cache
def _index(package: Path) -> dict[str, list[Function]]:
    """Give the functions of a package by the last part of their names."""
    found: dict[str, list[Function]] = {}
    for path in sorted(package.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        module = ".".join(path.relative_to(package.parent).with_suffix("").parts)
        for name, node in _functions(ast.parse(source), module):
            found.setdefault(node.name, []).append(Function(name, path, source, node))
    return found


def _functions(node: ast.AST, name: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{name}.{child.name}"
            if not isinstance(child, ast.ClassDef):
                yield inner, child
            yield from _functions(child, inner)
        elif not isinstance(child, ast.expr):
            yield from _functions(child, name)
