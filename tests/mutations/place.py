"""A place in a function: a kind of node and which one of them, so that it outlives a rename."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace


class Misfit(ValueError):
    """A mutant does not fit the code any more; the message says what to do about it."""


@dataclass(frozen=True)
class Site:
    """A node, and where its parent has it: in `field`, at `index` where that is a list."""

    node: ast.AST
    parent: ast.AST
    field: str
    index: int | None = None

    @property
    def block(self) -> list[ast.AST]:
        """The list that the node is in."""
        found: list[ast.AST] = getattr(self.parent, self.field)
        return found

    def put(self, node: ast.AST) -> None:
        """Replace the node."""
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            self.block[self.index] = node


@dataclass(frozen=True)
class Place:
    """The one node of a kind in a function, or the `number`th `of` so many, in the order of the source."""

    kind: str
    fits: Callable[[ast.AST], bool]
    number: int = 1
    of: int = 1

    def __call__(self, number: int, of: int) -> Place:
        """Say which one is meant, and how many there are: one more or less, and somebody has to look again."""
        return replace(self, number=number, of=of)

    def holding(self, word: str) -> Place:
        """Take only nodes that hold a word; choose one that users know, such as an option or an error."""
        says = re.compile(rf"\b{re.escape(word)}\b")
        fits = self.fits
        return replace(
            self,
            kind=f"{self.kind} with {word!r}",
            fits=lambda node: fits(node) and says.search(ast.unparse(node)) is not None,
        )

    def find(self, function: ast.AST) -> Site:
        """Find the place in a function; raises Misfit."""
        found = [site for site in _walk(function) if self.fits(site.node)]
        if len(found) != self.of:
            lines = ", ".join(str(getattr(site.node, "lineno", "?")) for site in found) or "none"
            raise Misfit(
                f"the function has {len(found)} of the kind '{self.kind}' (lines: {lines}), and the mutant counts on"
                f" {self.of}: say which one is meant, as in (2, of=3)"
            )
        return found[self.number - 1]

    def __str__(self) -> str:
        return self.kind if self.of == 1 else f"{self.kind} {self.number} of {self.of}"


def _walk(node: ast.AST) -> Iterator[Site]:
    for field, value in ast.iter_fields(node):
        children = value if isinstance(value, list) else [value]
        for index, child in enumerate(children):
            if isinstance(child, ast.AST):
                yield Site(child, node, field, index if isinstance(value, list) else None)
                yield from _walk(child)


def _kind(name: str, *types: type[ast.AST]) -> Place:
    return Place(name, lambda node: isinstance(node, types))


def _statement(name: str, expression: type[ast.expr]) -> Place:
    return Place(name, lambda node: isinstance(node, ast.Expr) and isinstance(node.value, expression))


def named(name: str) -> Place:
    """Give the place of a built-in name, such as `all`, or of a built-in method, such as `extend`."""
    return Place(f"name {name}", lambda node: name in (getattr(node, "id", None), getattr(node, "attr", None)))


def comparison(operator: str) -> Place:
    """Give the place of a comparison, by its operator."""
    compare = ast.parse(f"a {operator} b", mode="eval").body
    assert isinstance(compare, ast.Compare)
    kind = type(compare.ops[0])
    return Place(f"comparison {operator}", lambda node: isinstance(node, ast.Compare) and isinstance(node.ops[0], kind))


IF = _kind("if", ast.If)  # an elif is one, too
CONDITIONAL = _kind("conditional expression", ast.IfExp)
WHILE = _kind("while", ast.While)
WITH = _kind("with", ast.With, ast.AsyncWith)
EXCEPT = _kind("except", ast.ExceptHandler)
RETURN = _kind("return", ast.Return)
RAISE = _kind("raise", ast.Raise)
DELETE = _kind("del", ast.Delete)
ASSIGNMENT = _kind("assignment", ast.Assign, ast.AnnAssign)
COUNTING = _kind("augmented assignment", ast.AugAssign)
CALL = _statement("call statement", ast.Call)
AWAIT = _statement("await statement", ast.Await)
CALLED = _kind("call", ast.Call)  # anywhere in an expression
KEYWORD = _kind("keyword argument", ast.keyword)
COMPREHENSION = _kind("comprehension", ast.comprehension)
SUBSCRIPT = _kind("subscript", ast.Subscript)
TUPLE = _kind("tuple", ast.Tuple)
TEXT = Place("text", lambda node: isinstance(node, ast.Constant) and isinstance(node.value, str))
AND = Place("and", lambda node: isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And))
OR = Place("or", lambda node: isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or))
