"""idem, with this project in place of pop-evbus: an environment made as docs/migration.md says, and its runs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.interop import venv

REQUIREMENTS = venv.ROOT / "requirements" / "idem.txt"
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "requirements/base.txt", "compat", "evbus_like")
# For pip: the tested versions, and no byte code of modules that nobody imports.
QUICKLY = {"PIP_CONSTRAINT": str(REQUIREMENTS), "PIP_NO_COMPILE": "1"}
MADE = ("__pycache__", "build", ".egg-info")
CODE = venv.ROOT / "evbus_like"
COMMAND = re.compile(r"^pip install (\. .*idem.*)$", re.MULTILINE)
HERE = Path(__file__).parent
SLS = "states.sls"
# States that may run side by side come in an accidental order, unless they are taken one at a time.
OPTIONS = ["--run-name", "interop", "--batch-size", "1", "--reconciler", "none", "--no-progress-bar"]
SECONDS = 120.0  # only stops a hang
# What differs from run to run.
TIMES = ("start_time", "total_seconds")


def documented() -> list[str]:
    """Give what the page on migration tells the reader to install."""
    (found,) = COMMAND.findall((venv.ROOT / "docs" / "migration.md").read_text(encoding="utf-8"))
    return shlex.split(found)


def environment() -> Path:
    """Give the folder of an environment with idem and this project, as it is now; raises venv.Unavailable."""
    files = list(_files())
    code = _digest(each for each in files if each.is_relative_to(CODE))
    others = [each for each in files if not each.is_relative_to(CODE) and each.suffix != ".md"]
    folder = venv.place("idem", sys.version, *documented(), _digest([*others, REQUIREMENTS]))
    installed = folder / "code"
    with venv.alone(folder):
        if not (folder / "ready").exists():
            with _copy(files) as cwd:
                venv.make(folder, sys.executable, documented(), cwd, **QUICKLY)
        elif not installed.exists() or installed.read_text(encoding="ascii") != code:
            with _copy(files) as cwd:
                venv.install(folder, ["--no-deps", "--force-reinstall", "."], cwd)
        installed.write_text(code, encoding="ascii")
    return folder


def _files() -> Iterator[Path]:
    """Yield the files that are installed, or needed for it."""
    for name in SOURCES:
        path = venv.ROOT / name
        for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if (
                each.is_file()
                and not {"__pycache__", "build"}.intersection(each.parts)
                and ".egg-info" not in str(each)
            ):
                yield each


@contextmanager
def _copy(files: Iterable[Path]) -> Iterator[Path]:
    """Copy the project to install from it: pip leaves a folder `build` there."""
    with tempfile.TemporaryDirectory() as folder:
        for each in files:
            target = folder / each.relative_to(venv.ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(each, target)
        yield Path(folder)


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for each in files:
        digest.update(f"{each.relative_to(venv.ROOT)}\0".encode() + each.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Run:
    """One run of idem: its exit code, how long it took in seconds, and what it wrote."""

    code: int
    seconds: float
    out: str
    err: str


async def state(
    environment: Path, folder: Path, profiles: Mapping[str, Any] | None, *options: str, sls: Path = HERE / SLS
) -> Run:
    """Run `idem state` with a credentials file, in a folder of its own: runs in one folder exclude each other."""
    folder = Path(tempfile.mkdtemp(dir=folder))
    shutil.copy(sls, folder)
    command = [
        str(environment / "bin" / "idem"),
        "state",
        sls.name,
        *OPTIONS,
        *options,
        "--root-dir",
        str(folder),
    ]
    if profiles is not None:
        command += ["--acct-file", _written(folder, profiles)]
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "EVBUS_", "ACCT_"))}
    begun = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=own, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Run(process.returncode, time.monotonic() - begun, out.decode(), err.decode())


def _written(folder: Path, profiles: Mapping[str, Any]) -> str:
    handle, path = tempfile.mkstemp(".yml", dir=folder)  # readable by its owner alone
    with open(handle, "w", encoding="utf-8") as file:
        json.dump(profiles, file)
    return path


def events(bodies: Iterable[bytes]) -> list[Any]:
    """Give the events of a run, without what differs from run to run."""
    return [_timeless(json.loads(body)) for body in bodies]


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: None if name in TIMES else _timeless(each) for name, each in value.items()}
    return [_timeless(each) for each in value] if isinstance(value, list) else value


def rabbitmq(port: int, queue: str) -> dict[str, Any]:
    """Give the credentials for a queue of RabbitMQ, with a profile `idem-*`."""
    return {"pika": {"idem-*": {"connection": {"host": "127.0.0.1", "port": port}, "routing_key": queue}}}


def kafka(bootstrap: str, topic: str) -> dict[str, Any]:
    """Give the credentials for a topic of Kafka, with a profile `idem-*`."""
    return {"kafka": {"idem-*": {"connection": {"bootstrap_servers": [bootstrap]}, "topics": [topic]}}}
