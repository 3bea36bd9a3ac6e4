"""`python -m evbus_like` is the command `evbus`."""

import subprocess
import sys
from pathlib import Path

import pytest

EVBUS = str(Path(sys.executable).with_name("evbus"))


def ran(*command):
    """Run a program; gives its exit code and what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--help"], 0), (["pipe", "--help"], 0), (["check", "--acct-file", "/nowhere"], 2)]
)
def test_the_module_prints_and_exits_as_the_command_does(arguments, code):
    as_module = ran(sys.executable, "-m", "evbus_like", *arguments)
    assert as_module == ran(EVBUS, *arguments)
    assert as_module[0] == code
    assert "__main__" not in "".join(as_module[1:])
