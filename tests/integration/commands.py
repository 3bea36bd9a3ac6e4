"""The command `evbus`, run as a user runs it in the folder of an application."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from tests import launcher

EVBUS = str(Path(sys.executable).with_name("evbus"))
APPS = Path(__file__).with_name("apps")
DEADLINE = 60


def write_credentials(folder, data):
    """Write the credentials file."""
    path = folder / "acct.json"
    path.write_text(json.dumps(data))
    path.chmod(0o600)


def environment(credentials=True):
    """The environment of the command: that of the tests without settings of ours."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("ACCT_", "EVBUS_"))}
    return {**own, **({"ACCT_FILE": "acct.json"} if credentials else {}), "PYTHONUNBUFFERED": "1"}


def start_evbus(folder, *arguments, credentials=True):
    """Start the command and give its process."""
    return subprocess.Popen(
        [EVBUS, *arguments],
        cwd=folder,
        env=environment(credentials),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def evbus(folder, *arguments, credentials=True):
    """Run the command to its end; gives its exit code, its standard output and its standard error."""
    options = {"cwd": folder, "env": environment(credentials), "timeout": DEADLINE}
    ran = await asyncio.to_thread(launcher.run, launcher.EVBUS, arguments, **options)
    return ran.returncode, ran.stdout.decode(), ran.stderr.decode()


async def wait_for_end(process):
    """Wait until the command ends; gives its exit code, its standard output and its standard error."""
    out, err = await asyncio.to_thread(process.communicate, timeout=DEADLINE)
    return process.returncode, out, err


async def read_line_with(process, stream, text, within=DEADLINE):
    """Read lines until one contains the text, and give that line; a process that does not write it is killed."""
    killer = asyncio.get_running_loop().call_later(within, process.kill)
    try:
        while text not in (line := await asyncio.to_thread(stream.readline)):
            assert line, f"the stream ended before {text!r}"
    finally:
        killer.cancel()
    return line
