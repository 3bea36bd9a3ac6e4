"""Virtual environments with other systems, made when they are missing; `make clean` removes them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements" / "nameko.txt"
VERSIONS = ("3.10", "3.9", "3.8")  # nameko 2.14.1 runs on no later one
MAKE_SECONDS = 600


class Unavailable(Exception):
    """An environment cannot be made on this machine; the message says why."""


def python() -> str:
    """Give an interpreter that has nameko; raises Unavailable."""
    found = next(interpreters(), None)
    if found is None:
        raise Unavailable(f"nameko 2.14.1 needs Python {' or '.join(VERSIONS)}, and none is on PATH or in pyenv")
    folder = place("nameko", found, REQUIREMENTS.read_text(encoding="utf-8"))
    with alone(folder):
        if not (folder / "ready").exists():
            make(folder, found, ["-r", str(REQUIREMENTS)])
    return str(folder / "bin" / "python")


def place(name: str, *parts: str) -> Path:
    """Give the folder of an environment that is made of these parts."""
    digest = hashlib.sha256("".join(parts).encode()).hexdigest()[:12]
    return ROOT / ".venv" / f"{name}-{digest}"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep others from an environment: test processes run side by side, and the first one makes it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:  # closing it releases it
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def interpreters() -> Iterator[str]:
    """Yield interpreters of the right versions that run: those on PATH, then those of pyenv."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    roots = {folder.parent for folder in folders if folder.name == "shims"}
    roots |= {Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")}
    for version in VERSIONS:
        candidates = [shutil.which(f"python{version}")]
        for root in roots:
            candidates += [str(path) for path in sorted(root.glob(f"versions/{version}*/bin/python{version}"))]
        for candidate in candidates:
            if candidate and _is(candidate, version):
                yield candidate


def _is(candidate: str, version: str) -> bool:
    """Whether it runs and has the version of its name; a shim of pyenv may not."""
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    try:
        ran = subprocess.run([candidate, "-I", "-c", code], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ran.returncode == 0 and ran.stdout.strip() == version


def make(folder: Path, interpreter: str, wanted: list[str], cwd: Path = ROOT, **variables: str) -> None:
    """Make an environment and install into it what `pip install` is given; raises Unavailable."""
    shutil.rmtree(folder, ignore_errors=True)
    run([interpreter, "-m", "venv", str(folder)], folder)
    install(folder, wanted, cwd, **variables)
    (folder / "ready").touch()


def install(folder: Path, wanted: list[str], cwd: Path = ROOT, **variables: str) -> None:
    """Install into an environment what `pip install` is given; raises Unavailable."""
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, *wanted], folder, cwd, **variables)


def run(command: list[str], folder: Path, cwd: Path = ROOT, **variables: str) -> None:
    """Run a command for an environment, which is removed if it fails; raises Unavailable."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | variables
    ran = subprocess.run(command, capture_output=True, text=True, timeout=MAKE_SECONDS, cwd=cwd, env=own)
    if ran.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise Unavailable(f"{' '.join(command[:4])} failed: {(ran.stderr or ran.stdout).strip()[-500:]}")
