"""A trial: the tree is copied, a promise is broken in the copy, and one test is run there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from tests.mutations.mutant import ROOT, Mutant

Verdict = Literal["noticed", "survived", "skipped", "error"]
LEFT_OUT = shutil.ignore_patterns(
    ".coverage*", ".git", ".venv*", "__pycache__", "*.egg-info", "_build", "build", "dist", ".hypothesis", ".*_cache"
)
OUTPUT = 8000  # characters of the end of what a test printed
GRACE = 30.0  # seconds that pytest has to take its brokers down after its time was up

# The venv's own entry for the package leads to the tree that is not broken, and pop would load plugins of both.
PATH_WITHOUT_THE_ORIGINAL = "import sys\nsys.path[:] = [path for path in sys.path if path != {original!r}]\n"


@dataclass(frozen=True)
class Result:
    """The result of one mutant; `seconds` is how long its test took, `output` the end of what it printed."""

    mutant: Mutant
    verdict: Verdict
    seconds: float
    output: str

    @property
    def reason(self) -> str:
        """The first error of the test, which shows whether the promise failed or something else."""
        said = re.search(r"^E +(\S.*)", self.output, re.MULTILINE)
        return said[1] if said else "no answer in time" if self.verdict == "noticed" else ""

    def as_dict(self) -> dict[str, Any]:
        """Give plain data, for JSON."""
        found = {"verdict": self.verdict, "seconds": self.seconds, "reason": self.reason, "output": self.output}
        return {**vars(self.mutant), "change": str(self.mutant.change), **found}


@contextmanager
def copy_of_tree() -> Iterator[Path]:
    """A copy of the tree, removed after the block."""
    with tempfile.TemporaryDirectory(prefix="evbus_like-mutant-") as folder:
        copy = Path(folder) / "tree"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        (copy / "sitecustomize.py").write_text(PATH_WITHOUT_THE_ORIGINAL.format(original=str(ROOT)))
        yield copy


def pytest_in(tree: Path, tests: Sequence[str], limit: float) -> tuple[int | None, str]:
    """Run tests in a tree; gives pytest's exit code, None after `limit` seconds, and its output."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    options = ("-q", "-x", "-p", "no:cacheprovider", "--tb=line", "--show-capture=no")
    command = [sys.executable, "-m", "pytest", *options, *tests]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, cwd=tree, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
        output.seek(0)
        return code, output.read()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End pytest and everything it started, with SIGINT first because it may run brokers."""
    for number, patience in ((signal.SIGINT, GRACE), (signal.SIGKILL, GRACE)):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue


def judge(code: int | None, output: str) -> Verdict:
    """Interpret pytest's exit code (https://docs.pytest.org/en/stable/reference/exit-codes.html).

    A test that does not end has noticed, because the same test ends in time on the unchanged tree. Otherwise only a
    failed test has noticed: brokers that do not start, or a crash of pytest, show nothing.
    """
    if code is None or (code == 1 and re.search(r"\b\d+ failed\b", output)):
        return "noticed"
    if code == 0:
        return "survived" if re.search(r"\b\d+ passed\b", output) else "skipped"
    return "error"


def trial(mutant: Mutant, limit: float) -> Result:
    """Break one promise in a copy of the tree, and check that the test notices within `limit` seconds."""
    with copy_of_tree() as tree:
        mutant.apply(tree)
        began = monotonic()
        code, output = pytest_in(tree, [mutant.test], limit)
    return Result(mutant, judge(code, output), round(monotonic() - began, 1), output[-OUTPUT:])
