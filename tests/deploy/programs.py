"""The folder deploy/, and programs that check what is in it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.brokers.needs import in_ci

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
HANG = 120  # seconds for a program on a busy machine


def program(name, package):
    """Give the path of a program; without it the test is skipped, and fails in CI."""
    beside = Path(sys.executable).with_name(name)  # from PyPI
    if found := str(beside) if beside.exists() else shutil.which(name):
        return found
    reason = f"{name} is not installed: it is in {package}."
    return (pytest.fail if in_ci() else pytest.skip)(reason)


def ran(*command, **options):
    """Run a program; gives its exit code and what it wrote."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=HANG, check=False, **options
    )
    return done.returncode, done.stdout
