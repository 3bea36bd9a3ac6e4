"""A Sphinx extension: the directive `api` makes the reference of a module from its docstrings, which are Markdown.

`{api} evbus_like.evbus.broker` with `:as: hub.evbus.broker` shows the functions as they are called on the hub, without
their parameter `hub`. A module with `__all__` is shown with the functions, classes and constants that it names.

The directive `contract` shows the docstring of a module, `members` a table of the attributes and methods of a class.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.inspect import safe_getattr, stringify_signature

CODE = re.compile(r"^( *)\.\. code-block:: (\w+)\n\n((?:\1    .*\n|\n)+)", re.MULTILINE)
ATTRIBUTE = re.compile(r"^    ([a-z]\w*): .+?  # (.+)$", re.MULTILINE)  # its comment says what it is
LITERAL = re.compile(r"^( *)(.*)::\n\n((?:\1    .*\n|\n)+)", re.MULTILINE)


def markdown(docstring: str, literal: str = "python") -> str:
    """Return a docstring as Markdown: blocks of code in the syntax of reStructuredText become fenced ones."""

    def fenced(match: re.Match[str], language: str, before: str = "") -> str:
        code = inspect.cleandoc(match[3])
        return f"{before}{match[1]}```{language}\n{code}\n{match[1]}```\n\n"

    text = CODE.sub(lambda match: fenced(match, match[2]), inspect.cleandoc(docstring) + "\n")
    return LITERAL.sub(lambda match: fenced(match, literal, f"{match[1]}{match[2]}:\n\n"), text)


def signature(function: Any, *, without: str = "") -> str:
    """Return the signature of a function, without one parameter."""
    found = inspect.signature(function)
    kept = [each for name, each in found.parameters.items() if name not in (without, "self", "cls")]
    return stringify_signature(found.replace(parameters=kept), unqualified_typehints=True, short_literals=True)


def described(kind: str, name: str, doc: str | None, body: list[str], *options: str) -> list[str]:
    """Return a directive of Sphinx's Python domain, in Markdown."""
    fence = "`" * (8 if kind in ("class", "exception") else 6)
    text = markdown(doc or "").splitlines()
    return [f"{fence}{{py:{kind}}} {name}", *options, "", *text, "", *body, fence, ""]


def functions(module: ModuleType, shown: str) -> Iterator[str]:
    """Yield the functions of a module on the hub."""
    for name, function in vars(module).items():
        ours = inspect.isfunction(function) and function.__module__ == module.__name__
        if ours and not name.startswith("_") and name != "cli":
            options = [":async:"] if inspect.iscoroutinefunction(function) else []
            yield from described(
                "function", f"{shown}.{name}{signature(function, without='hub')}", function.__doc__, [], *options
            )


def members(kind: type, name: str) -> Iterator[str]:
    """Yield the public methods and properties of a class that say what they are for."""
    for member, value in vars(kind).items():
        if member.startswith("_"):
            continue
        if inspect.isfunction(value) and value.__doc__:
            options = [":async:"] if inspect.iscoroutinefunction(value) else []
            yield from described("method", f"{name}.{member}{signature(value)}", value.__doc__, [], *options)
        elif isinstance(value, property) and value.__doc__:
            yield from described("property", f"{name}.{member}", value.__doc__, [])


def member_table(path: str) -> str:
    """Return the table of a class: attributes with their defaults and comments, methods with their docstrings."""
    module, _, name = path.rpartition(".")
    kind = getattr(import_module(module), name)
    rows = []
    for attribute, comment in ATTRIBUTE.findall(inspect.getsource(kind)):
        rows.append(f"| `{attribute}` | {default(getattr(kind, attribute))} | {comment} |")
    for member, value in vars(kind).items():
        if inspect.isfunction(value) and not member.startswith("_"):
            names = ", ".join(str(each.replace(annotation=each.empty)) for each in parameters(value))
            prefix = "async " if inspect.iscoroutinefunction(value) else ""
            rows.append(f"| `{prefix}{member}({names})` | | {' '.join((value.__doc__ or '').split())} |")
    return "\n".join(["| member | default | meaning |", "|---|---|---|", *rows, ""])


def parameters(function: Any) -> list[inspect.Parameter]:
    """Return the parameters of a method."""
    return [each for name, each in inspect.signature(function).parameters.items() if name != "self"]


def default(value: Any) -> str:
    """Return a default as the tables show it; nothing where a value must be given, or the suite gives it."""
    if value is None or value in ("", ()):
        return ""
    return f"{value >> 20} MiB" if value not in (True, False) else str(value)


def public(module: ModuleType, shown: str, without: list[str]) -> Iterator[str]:
    """Yield what `__all__` of a module names."""
    for name in sorted(set(module.__all__) - set(without), key=str.lower):
        value = safe_getattr(module, name)
        full = f"{shown}.{name}"
        if inspect.isclass(value):
            error = issubclass(value, BaseException)
            doc = value.__doc__ if value.__doc__ and not value.__doc__.startswith(f"{name}(") else ""
            yield from described("exception" if error else "class", full, doc, list(members(value, full)))
        elif inspect.isbuiltin(value):  # such as `current`, bound to C for speed; the page says what it is
            yield from described("function", f"{full}()", None, [])
        elif inspect.isroutine(value):
            options = [":async:"] if inspect.iscoroutinefunction(value) else []
            yield from described("function", f"{full}{signature(value)}", value.__doc__, [], *options)
        else:
            yield from described("data", full, None, [], f":value: {value!r}")


class Api(SphinxDirective):
    """The directive `api`."""

    required_arguments = 1
    option_spec: ClassVar = {"as": directives.unchanged, "without": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """Parse the Markdown that is made from the module."""
        module = import_module(self.arguments[0])
        shown = self.options.get("as")
        without = self.options.get("without", "").split()  # names that another module shows
        lines = list(functions(module, shown) if shown else public(module, module.__name__, without))
        node = nodes.container()
        self.state.nested_parse(StringList(lines, source=module.__name__), self.content_offset, node)
        made: list[nodes.Node] = node.children
        return made


class Members(SphinxDirective):
    """The directive `members`: the table of a class."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse the table."""
        node = nodes.container()
        lines = member_table(self.arguments[0]).splitlines()
        self.state.nested_parse(StringList(lines, source=self.arguments[0]), self.content_offset, node)
        made: list[nodes.Node] = node.children
        return made


class Contract(SphinxDirective):
    """The directive `contract`: the docstring of a module, without its first paragraph and its last one."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse the docstring."""
        shown = contract(self.arguments[0]).split("\n\n", 1)[1].rsplit("\n\n", 1)[0]
        node = nodes.container()
        self.state.nested_parse(StringList(shown.splitlines(), source=self.arguments[0]), self.content_offset, node)
        made: list[nodes.Node] = node.children
        return made


def contract(module: str) -> str:
    """Return a contract as Markdown."""
    return markdown(import_module(module).__doc__ or "", "text").strip()


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("api", Api)
    app.add_directive("contract", Contract)
    app.add_directive("members", Members)
    return {"parallel_read_safe": True}
