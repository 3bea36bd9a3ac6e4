"""A change to a function's syntax tree. It brings in no names of ours, so that a rename does not touch it."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable
from dataclasses import dataclass

from tests.mutations.place import TEXT, Place, named


@dataclass(frozen=True)
class Change:
    """What it does, in words, and how; `edit` raises Misfit where the function has no such place."""

    says: str
    edit: Callable[[ast.AST], None]

    def __str__(self) -> str:
        return self.says


def both(first: Change, second: Change) -> Change:
    """Do one change, then another."""

    def edit(function: ast.AST) -> None:
        first.edit(function)
        second.edit(function)

    return Change(f"{first}; {second}", edit)


# ---- expressions


def part(place: Place, field: str, code: str, at: int | None = None) -> Change:
    """Replace a part of a node (https://docs.python.org/3/library/ast.html), the `at`th where it has several."""

    def edit(function: ast.AST) -> None:
        node, value = place.find(function).node, ast.parse(code, mode="eval").body
        if at is None:
            setattr(node, field, value)
        else:
            getattr(node, field)[at - 1] = value

    return Change(f"{place}: {field if at is None else f'{field} {at}'} is {code}", edit)


def always(place: Place) -> Change:
    """Let an `if`, a `while` or a conditional expression hold always."""
    return part(place, "test", "True")


def never(place: Place) -> Change:
    """Let an `if`, a `while` or a conditional expression hold never."""
    return part(place, "test", "False")


def inverted(place: Place) -> Change:
    """Let an `if`, a `while` or a conditional expression hold where it should not, and the other way round."""

    def edit(function: ast.AST) -> None:
        node = place.find(function).node
        assert isinstance(node, ast.If | ast.While | ast.IfExp)
        node.test = ast.UnaryOp(ast.Not(), node.test)

    return Change(f"{place}: inverted", edit)


def value(place: Place, code: str) -> Change:
    """Replace what a statement returns or assigns, or the value of a keyword argument."""
    return part(place, "value", code)


def argument(place: Place, at: int, code: str) -> Change:
    """Replace an argument of a call, counted from 1."""

    def edit(function: ast.AST) -> None:
        node = place.find(function).node
        while isinstance(node, ast.Expr | ast.Await):
            node = node.value
        assert isinstance(node, ast.Call)
        node.args[at - 1] = ast.parse(code, mode="eval").body

    return Change(f"{place}: argument {at} is {code}", edit)


def entry(key: str, code: str) -> Change:
    """Replace the value of a key in a dict that is written out."""
    place = Place("dict", lambda node: isinstance(node, ast.Dict) and key in map(_constant, node.keys))

    def edit(function: ast.AST) -> None:
        node = place.find(function).node
        assert isinstance(node, ast.Dict)
        node.values[[*map(_constant, node.keys)].index(key)] = ast.parse(code, mode="eval").body

    return Change(f"{key!r} is {code}", edit)


def _constant(node: ast.AST | None) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def operator(place: Place, code: str) -> Change:
    """Replace `and`, `or`, or the operator of a comparison."""

    def edit(function: ast.AST) -> None:
        node, other = place.find(function).node, ast.parse(f"a {code} b", mode="eval").body
        if isinstance(node, ast.Compare) and isinstance(other, ast.Compare):
            node.ops[0] = other.ops[0]
        elif isinstance(node, ast.BoolOp) and isinstance(other, ast.BoolOp):
            node.op = other.op

    return Change(f"{place}: {code} instead", edit)


def text(old: str, new: str, which: Place = TEXT) -> Change:
    """Replace a part of a text that is no message, such as a statement of SQL or the value of an option."""
    place = which.holding(old)

    def edit(function: ast.AST) -> None:
        node = place.find(function).node
        assert isinstance(node, ast.Constant)
        node.value = str(node.value).replace(old, new)

    return Change(f"{place}: {new!r} instead", edit)


def builtin(old: str, new: str) -> Change:
    """Replace a function or a method of Python's own."""

    def edit(function: ast.AST) -> None:
        node = named(old).find(function).node
        setattr(node, "id" if isinstance(node, ast.Name) else "attr", new)

    return Change(f"{old}: {new} instead", edit)


def without_the_first(place: Place) -> Change:
    """Let a comprehension leave out the first of what it goes through."""

    def edit(function: ast.AST) -> None:
        node = place.find(function).node
        assert isinstance(node, ast.comprehension)
        node.iter = _with("list(_)[1:]", node.iter)

    return Change(f"{place}: without the first", edit)


def in_this_thread(place: Place) -> Change:
    """Let a call of `loop.run_in_executor` do its work at once, in the loop's own thread."""

    def edit(function: ast.AST) -> None:
        site = place.find(function)
        call = site.node
        assert isinstance(call, ast.Call)
        assert isinstance(call.func, ast.Attribute)
        now = ast.Call(call.args[1], call.args[2:], [])
        done = _with("(lambda loop, result: (done := loop.create_future(), done.set_result(result))[0])(_)", now)
        assert isinstance(done, ast.Call)
        done.args.insert(0, call.func.value)
        site.put(done)

    return Change(f"{place}: in this thread", edit)


def _with(code: str, value: ast.expr) -> ast.expr:
    """Give the expression of `code`, with a value where `_` is."""

    class Put(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return value if node.id == "_" else node

    made: ast.expr = Put().visit(ast.parse(code, mode="eval").body)
    return made


# ---- statements


def drop(place: Place) -> Change:
    """Leave a statement out."""

    def edit(function: ast.AST) -> None:
        place.find(function).put(ast.Pass())

    return Change(f"{place}: left out", edit)


def leave(place: Place) -> Change:
    """Return where a statement was."""

    def edit(function: ast.AST) -> None:
        place.find(function).put(ast.Return())

    return Change(f"{place}: return instead", edit)


def repeat(place: Place) -> Change:
    """Do a statement twice."""
    return early(place, before=place)


def early(place: Place, before: Place) -> Change:
    """Do a statement before another one, too."""

    def edit(function: ast.AST) -> None:
        statement = copy.deepcopy(place.find(function).node)
        site = before.find(function)
        assert site.index is not None
        site.block.insert(site.index, statement)

    return Change(f"{place}: also before {before}", edit)


def insert(code: str, before: Place) -> Change:
    """Put a new statement before another one. A rename has to change its names, too: use it where nothing else does."""

    def edit(function: ast.AST) -> None:
        site = before.find(function)
        assert site.index is not None
        site.block.insert(site.index, ast.parse(code).body[0])

    return Change(f"{code} before {before}", edit)


def swap(first: Place, second: Place) -> Change:
    """Let two statements change places."""

    def edit(function: ast.AST) -> None:
        one, other = first.find(function), second.find(function)
        one.put(other.node)
        other.put(one.node)

    return Change(f"{first} and {second} have changed places", edit)


def nothing_on(error: str, place: Place) -> Change:
    """Catch an error in a statement, and take None for whatever it would have assigned."""

    def edit(function: ast.AST) -> None:
        site = place.find(function)
        assert isinstance(site.node, ast.stmt)
        assigned = [target for node in ast.walk(site.node) if isinstance(node, ast.Assign) for target in node.targets]
        caught = ast.ExceptHandler(ast.Name(error), None, [ast.Assign(assigned, ast.Constant(None))])
        site.put(ast.Try([site.node], [caught], [], []))

    return Change(f"{place}: None on {error}", edit)
