"""Points of application code at which a process may be killed: its functions are compiled with calls at each of them.

A function gets another `__code__` for the time of a test, made from its own source: before and after every await, put
and SQL statement it says where it is. A run that is killed raises `Killed` there, and from then on at the begin of each
`except`, `finally` and `__exit__` of that code, so that none of them runs, as none does after SIGKILL. Context managers
of libraries do run: they roll back, as a database does when its client is gone.
"""

from __future__ import annotations

import ast
import gc
import inspect
import linecache
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import evbus_like

AWAIT, PUT, SQL, END = "await", "put", "SQL", "end"
PUTS = {"put", "put_nowait", "dispatch", "dispatch_nowait"}
WRITES = {"execute", "executemany", "executescript", "commit", "rollback"}
READS = {"fetch", "fetchone", "fetchmany", "fetchall", "fetchrow", "fetchval", "scalar", "scalars", "flush"}
EXITS = ("__exit__", "__aexit__")
BEFORE, AFTER, ALIVE = "__evbus_like_before__", "__evbus_like_after__", "__evbus_like_alive__"
_paths = sysconfig.get_paths()
OTHERS = tuple(
    str(Path(each).resolve()) + "/"
    for each in (*(_paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")), evbus_like.__path__[0])
)


class Killed(BaseException):
    """Raised where a run is cut, and wherever its code goes on."""


@dataclass(frozen=True)
class Place:
    """One await, put or SQL statement of the source."""

    file: str
    line: int
    function: str
    kind: str
    source: str


@dataclass(frozen=True)
class Moment:
    """The moment before or after a place, as it was reached in a run."""

    place: Place
    after: bool


class Run:
    """One delivery of an event, which is cut at its moment number `cut`, counted from 1; 0: never."""

    def __init__(self, cut: int = 0) -> None:
        self.cut = cut
        self.moments: list[Moment] = []
        self.is_dead = False
        self.codes: set[CodeType] = set()  # of the application, that were called

    def reach(self, place: Place, after: bool) -> None:
        """Note a moment, and end there if it is the one."""
        self.alive()
        self.moments.append(Moment(place, after))
        if len(self.moments) == self.cut:
            self.is_dead = True
            raise Killed

    def alive(self) -> None:
        """Raise if the run was cut."""
        if self.is_dead:
            raise Killed


running: ContextVar[Run | None] = ContextVar("evbus_like_crash_run", default=None)


@contextmanager
def called_code() -> Iterator[None]:
    """Note the code of the application that the current run calls, also in threads that begin now."""
    known: dict[str, bool] = {}

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and (run := running.get()) is not None:
            file = frame.f_code.co_filename
            if file not in known:
                known[file] = is_of_application(file)
            if known[file]:
                run.codes.add(frame.f_code)

    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)
        threading.setprofile(None)


def is_of_application(file: str) -> bool:
    """Whether a file of source is neither Python's, nor of an installed package, nor of this one."""
    return file.endswith(".py") and not str(Path(file).resolve()).startswith(OTHERS)


@contextmanager
def points_in(codes: set[CodeType]) -> Iterator[set[CodeType]]:
    """Give the functions with this code points; yields the code that has got some."""
    ids = {id(code) for code in codes}
    functions = [each for each in gc.get_objects() if type(each) is FunctionType and id(each.__code__) in ids]
    made = {file: _compiled(file) for file in {code.co_filename for code in codes}}
    changed: list[tuple[FunctionType, CodeType]] = []
    try:
        for function in functions:
            own = function.__code__
            new = made[own.co_filename].get((own.co_qualname, own.co_firstlineno))
            if new is not None and new.co_freevars == own.co_freevars:
                function.__globals__.update({BEFORE: _before, AFTER: _after, ALIVE: _alive})
                function.__code__ = new
                changed.append((function, own))
        yield {own for _, own in changed}
    finally:
        for function, own in changed:
            function.__code__ = own
        for function, _ in changed:
            for name in (BEFORE, AFTER, ALIVE):
                function.__globals__.pop(name, None)


def _before(place: Place) -> None:
    if (run := running.get()) is not None:
        run.reach(place, after=False)


def _after(place: Place, value: Any, is_awaited: bool) -> Any:
    if (run := running.get()) is not None and (is_awaited or not inspect.isawaitable(value)):
        run.reach(place, after=True)
    return value


def _alive() -> None:
    if (run := running.get()) is not None:
        run.alive()


def _compiled(file: str) -> dict[tuple[str, int], CodeType]:
    """Return the code of every function of a file, with points, by name and line; nothing without its source."""
    lines = linecache.getlines(file)
    try:
        tree = ast.parse("".join(lines), file)
        points = _Points(file, lines)
        code = compile(ast.fix_missing_locations(points.visit(tree)), file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return {}
    code = _with_places(code, points.places)
    return {(each.co_qualname, each.co_firstlineno): each for each in _functions(code)}


def _functions(code: CodeType) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from _functions(each)


def _with_places(code: CodeType, places: dict[str, Place]) -> CodeType:
    """Return code whose constants are the places instead of their names, which are all that can be compiled."""

    def changed(value: Any) -> Any:
        if isinstance(value, CodeType):
            return _with_places(value, places)
        return places.get(value, value) if isinstance(value, str) else value

    return code.replace(co_consts=tuple(map(changed, code.co_consts)))


class _Points(ast.NodeTransformer):
    """Puts calls around every await, put and SQL statement in the functions of a file."""

    def __init__(self, file: str, lines: list[str]) -> None:
        self._file = file
        self._lines = lines
        self._function = ""
        self.places: dict[str, Place] = {}

    # ---- what is made

    def _place(self, node: ast.expr | ast.stmt, kind: str, part: str = "") -> ast.Constant:
        line = node.lineno
        source = part + self._lines[line - 1].strip()
        place = Place(self._file, line, self._function, kind, source)
        name = f"evbus_like crash point {len(self.places)}"
        self.places[name] = place
        return ast.Constant(name)

    def _call(self, name: str, at: ast.expr | ast.stmt, *args: ast.expr) -> ast.expr:
        made = ast.Call(ast.Name(name, ast.Load()), list(args), [])
        return ast.copy_location(made, at)

    def _said(self, name: str, at: ast.stmt, *args: ast.expr) -> ast.stmt:
        return ast.copy_location(ast.Expr(self._call(name, at, *args)), at)

    def _around(self, node: ast.expr, kind: str, is_awaited: bool) -> ast.expr:
        """Return after(place, (before(place), node)[1], is_awaited)."""
        place = self._place(node, kind)
        both = ast.Tuple([self._call(BEFORE, node, place), node], ast.Load())
        value = ast.Subscript(both, ast.Constant(1), ast.Load())
        return self._call(AFTER, node, place, ast.copy_location(value, node), ast.Constant(is_awaited))

    # ---- what is found

    def _visit_function(self, node: Any) -> Any:
        outer, self._function = self._function, node.name
        node.body = self._all(node.body)
        if node.name in EXITS:
            node.body.insert(0, self._said(ALIVE, node.body[0]))
        self._function = outer
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = _visit_function

    def _all(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        made: list[ast.stmt] = []
        for each in statements:
            found = self.visit(each)
            made.extend(found if isinstance(found, list) else [found])
        return made

    def visit_Await(self, node: ast.Await) -> ast.expr:
        kind = _kind(node.value) or AWAIT
        node.value = self.generic_visit(node.value) if isinstance(node.value, ast.Call) else self.visit(node.value)  # type: ignore[assignment]
        return self._around(node, kind, is_awaited=True)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        kind = _kind(node)
        self.generic_visit(node)
        plain = kind == PUT or (isinstance(node.func, ast.Attribute) and node.func.attr in WRITES)
        return self._around(node, kind, is_awaited=False) if plain and self._function else node

    def visit_AsyncFor(self, node: ast.AsyncFor) -> list[ast.stmt]:
        place = self._place(node, AWAIT)
        self.generic_visit(node)
        node.body.insert(0, self._said(AFTER, node, place, ast.Constant(None), ast.Constant(True)))
        return [self._said(BEFORE, node, place), node]

    def visit_AsyncWith(self, node: ast.AsyncWith) -> list[ast.stmt]:
        return self._with(node, AWAIT)

    def visit_With(self, node: ast.With) -> list[ast.stmt]:
        writes = any(isinstance(each, ast.Attribute) and each.attr in WRITES for each in ast.walk(node))
        return self._with(node, SQL) if writes and self._function else [self.generic_visit(node)]  # type: ignore[list-item]

    def _with(self, node: Any, kind: str) -> list[ast.stmt]:
        """Put points before and after a context is entered and left."""
        entered, left = self._place(node, kind), self._place(node, kind, "the end of: ")
        self.generic_visit(node)
        none, true = ast.Constant(None), ast.Constant(True)
        node.body.insert(0, self._said(AFTER, node, entered, none, true))
        node.body.append(self._said(BEFORE, node.body[-1], left))
        return [self._said(BEFORE, node, entered), node, self._said(AFTER, node, left, none, true)]

    def _visit_try(self, node: Any) -> Any:
        self.generic_visit(node)
        for body in (*(each.body for each in node.handlers), node.finalbody):
            if body:
                body.insert(0, self._said(ALIVE, body[0]))
        return node

    visit_Try = visit_TryStar = _visit_try


def _kind(node: ast.expr) -> str:
    """Return what a call is, by its name: a put, an SQL statement, or nothing that is known."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return ""
    name, whole = node.func.attr, ast.unparse(node.func)
    if (name in PUTS and "broker." in whole) or "hub.event." in whole:
        return PUT
    return SQL if name in WRITES | READS else ""
