"""Code blocks of a Markdown file, and shell sessions compared with what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
INFO = re.compile(r"(?:\{code-block\} *)?(?P<language>\w*)")  # other directives are no blocks of code
OPTION = re.compile(r":(?P<name>\w+): *(?P<value>.*)")
DEADLINE = 300.0  # seconds; only stops a hang


@dataclass(frozen=True)
class Block:
    """One fenced block; `caption` names the file that it is."""

    language: str
    text: str
    caption: str = ""
    runs: bool = True


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page."""
    for match in FENCE.finditer(page.read_text(encoding="utf-8")):
        if (info := INFO.fullmatch(match["info"].strip())) is None:
            continue
        lines = match["body"].splitlines(keepends=True)
        options = {}
        while lines and (option := OPTION.fullmatch(lines[0].strip())):
            options[option["name"]] = option["value"]
            lines.pop(0)
        text = "".join(lines).lstrip("\n") if options else "".join(lines)
        yield Block(info["language"], text, options.get("caption", ""), options.get("class") != "not-run")


def environment(**more: str) -> dict[str, str]:
    """Give an environment in which `python` and `evbus` are those of the tests."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("ACCT_", "EVBUS_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{own.get('PATH', '')}"
    return {**own, "PATH": path, "PYTHONUNBUFFERED": "1", "COLUMNS": "160", **more}


def run(command: str | list[str], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command line, or a program with its arguments; its output includes stderr."""
    return subprocess.run(
        command,
        shell=isinstance(command, str),
        cwd=folder,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
    )


def session(text: str) -> list[tuple[str, list[str]]]:
    """Split a console block into commands and the lines that the page shows for each."""
    steps: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], []))
        elif line.strip():
            steps[-1][1].append(line)
    return steps


def matches(expected: list[str], output: str) -> bool:
    """Whether the output is as shown; `...` matches anything, in a line or as whole lines."""
    pattern = "\n".join(expected)
    parts = [re.escape(part.strip("\n")) for part in pattern.split("...")]
    return re.fullmatch(r"(?s:.*?)".join(parts), output.strip("\n")) is not None


def replaced(text: str, replacements: Mapping[str, str]) -> str:
    """Give the text with replacements, such as the addresses of the test's brokers."""
    for old, new in replacements.items():
        text = text.replace(old, new)
    return text
