"""The parser of the command line."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from evbus_like.cli import config_file
from evbus_like.cli.errors import UsageError

PART = re.compile(r"(?:^|(?<=\. ))((?:evbus [a-z-]+(?:, )?)+): ")
ACTION = re.compile(r"(?!filter)[a-z-]+(?:, [a-z-]+)*: ")  # such as "replay, purge: "


def own_help(text: str, command: str) -> str:
    """Return what the help of a shared option says for a subcommand: the part that begins with `evbus COMMAND: `.

    A text without such parts is for all subcommands, and so is what comes before the first part.
    """
    before, *parts = PART.split(text)
    if not parts:
        return text
    said = [before] if before else []
    for names, what in zip(parts[::2], parts[1::2], strict=True):
        if command in names.split(", "):
            said.append(what)
    kept = " ".join(each.strip() for each in said).rstrip(".")
    return kept if ACTION.match(kept) else kept[:1].upper() + kept[1:]


class Help(argparse.HelpFormatter):
    """Keeps the line breaks of a description."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class Extend(argparse.Action):
    """Collects the values of a repeated option; argparse's own action appends to the default."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Add values."""
        had = getattr(namespace, self.dest, None)
        setattr(namespace, self.dest, [*(had if isinstance(had, list) else ()), *values])


class Parser(argparse.ArgumentParser):
    """Accepts options and positional arguments in any order: argparse alone rejects `dead replay --send 7`.

    The parsers of subcommands, which pop-config makes, have the same class.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=Help, **options)
        self.register("action", "extend", Extend)
        for kind in (int, float):  # numbers stay text here: `settings` checks them, as those of the environment
            self.register("type", kind, str)
        self._within = False
        self.settings_file: tuple[str, frozenset[str]] = ("", frozenset())  # its path, and its settings of ours

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse, as argparse does."""
        if self._subparsers is not None or self._within:
            return super().parse_known_args(args, namespace)
        self._within = True  # the next call comes back here
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._within = False

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, as argparse does, and check the settings file before pop reads it."""
        parsed = super().parse_args(args, namespace)
        given = getattr(parsed, "config", None)
        source = "--config" if isinstance(given, str) else "EVBUS_CONFIG"
        path = given if isinstance(given, str) else os.environ.get("EVBUS_CONFIG")
        if path is not None and (path or source == "--config"):
            data = config_file.load(path, source)
            self.settings_file = (path, frozenset(data.get(config_file.OURS) or ()))
            parsed.config = config_file.for_pop(path, data)
        return parsed

    def format_help(self) -> str:
        """Return the help, with what each option does for this subcommand."""
        self.explain()
        return super().format_help()

    def explain(self) -> None:
        """Have the help of each option, also of subcommands, say what it does there."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for each in action.choices.values():
                    each.explain()
            elif action.help:
                action.help = own_help(action.help, self.prog)

    def error(self, message: str) -> NoReturn:
        """Print the usage and raise UsageError."""
        self.print_usage(sys.stderr)
        raise UsageError(message)
