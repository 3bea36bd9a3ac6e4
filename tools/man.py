"""Make the man page of the command from its parser: `python -m tools.man [FOLDER]`, by default build/man."""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path

from argparse_manpage.manpage import Manpage

from evbus_like.cli import main as command
from evbus_like.version import version

ABOUT = "an event bus for pop applications: put events, handle them, look at what runs"


def page(parser: argparse.ArgumentParser) -> str:
    """Return the man page, in the language of troff."""
    made = Manpage(parser)
    made.description, made.source, made.manual = ABOUT, f"evbus_like {version}", "evbus_like"
    made.synopsis = [parser.prog, "COMMAND", "[OPTIONS]"]
    made.date = f"{date.fromisoformat(made.date):%B %d, %Y}"  # its hyphens would be escaped, which mandoc does not know
    return str(made)


def main() -> None:
    """Write the page."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/man")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evbus.1").write_text(page(command.parser()), encoding="utf-8")


if __name__ == "__main__":
    main()
