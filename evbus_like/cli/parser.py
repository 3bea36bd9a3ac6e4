"""The parser of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any


class Help(argparse.HelpFormatter):
    """Leaves a description that has lines of its own as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class Extend(argparse.Action):
    """Collects the values of an option that stands several times; argparse's own cannot begin with a default."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Add values."""
        had = getattr(namespace, self.dest, None)
        setattr(namespace, self.dest, [*(had if isinstance(had, list) else ()), *values])


class Parser(argparse.ArgumentParser):
    """Takes options and what else there is in any order: argparse alone does not understand `dead replay --send 7`.

    pop-config makes the parsers of the subcommands; they have the class of the first.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=Help, **options)
        self.register("action", "extend", Extend)
        self._within = False

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse, as argparse's own does."""
        if self._subparsers is not None or self._within:
            return super().parse_known_args(args, namespace)
        self._within = True  # argparse's next line comes back here
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._within = False
