"""A Sphinx extension: the directive `command` makes the reference of a subcommand of `evbus` from its parser."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from evbus_like import conf
from evbus_like.cli import main


@cache
def parsers() -> dict[str, argparse.ArgumentParser]:
    """Give the parsers of all subcommands, by their names."""
    arguments = sys.argv
    try:
        made = main.parser()
    finally:
        sys.argv = arguments
    (found,) = [action for action in made._actions if isinstance(action, argparse._SubParsersAction)]
    return {name: found.choices[name] for name in main.COMMANDS}


def common() -> set[str]:
    """Give the names of the options that are explained once."""
    shared = {"help", "acct_file", "acct_key", "config", "config_template", "json", "log_format", "versions_report"}
    return {a.dest for a in parsers()["run"]._actions if a.dest in shared or a.dest.startswith("log_")}


def table(actions: Iterator[argparse.Action] | list[argparse.Action], title: str) -> list[str]:
    """Give a table of arguments and options; none if there are none."""
    rows = [f"| {spelled(action)} | {meaning(action)} |" for action in actions]
    return [f"| {title} | meaning |", "|---|---|", *rows, ""] if rows else []


def spelled(action: argparse.Action) -> str:
    """Give an option as it is typed."""
    value = "" if action.nargs == 0 else " " + (metavar(action) or action.dest.upper())
    if not action.option_strings:
        return f"`{value.strip()}`"
    return ", ".join(f"`{option}{value}`" for option in sorted(action.option_strings, key=len))


def metavar(action: argparse.Action) -> str:
    """Give what stands for the value."""
    if action.choices:
        return " \\| ".join(map(str, action.choices))
    return str(action.metavar) if isinstance(action.metavar, str) else ""


def meaning(action: argparse.Action) -> str:
    """Give the help of an option and its default, safe in a table."""
    setting: Any = conf.CONFIG.get(action.dest, {})
    text, default = action.help or "", setting.get("default")
    if default not in (None, False, [], "") and "default" not in text:
        text += f" (default: {default:g})" if isinstance(default, float) else f" (default: {default})"
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;").strip()


def description(text: str) -> Iterator[str]:
    """Yield the description as Markdown: what is indented is code."""
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("  "):
            yield from ("```text", *(line[2:] for line in paragraph.splitlines()), "```", "")
        else:
            yield from (" ".join(paragraph.split()), "")


def part(name: str) -> str:
    """Give the part of one subcommand."""
    parser = parsers()[name]
    own = [action for action in parser._actions if action.dest not in common()]
    return "\n".join([*description(parser.description or ""), *table(own, "argument, option")])


def common_options() -> str:
    """Give the table of the options that all subcommands have."""
    return "\n".join(table([a for a in parsers()["run"]._actions if a.dest in common()], "option"))


class Command(SphinxDirective):
    """The directive `command`: its argument is a subcommand, or "common" for the options that all have."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse the Markdown that is made from the parser."""
        name = self.arguments[0]
        text = common_options() if name == "common" else part(name)
        node = nodes.container()
        self.state.nested_parse(StringList(text.splitlines(), source=f"evbus {name}"), self.content_offset, node)
        made: list[nodes.Node] = node.children
        return made


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("command", Command)
    return {"parallel_read_safe": True}
