"""A virtual environment with the real nameko, made when it is missing; `make clean` removes it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements" / "nameko.txt"
VERSIONS = ("3.10", "3.9", "3.8")  # nameko 2.14.1 runs on no later one
MAKE_SECONDS = 600


class Unavailable(Exception):
    """nameko cannot be installed on this machine; the message says why."""


def python() -> str:
    """Give an interpreter that has nameko; raises Unavailable."""
    found = next(interpreters(), None)
    if found is None:
        raise Unavailable(f"nameko 2.14.1 needs Python {' or '.join(VERSIONS)}, and none is on PATH or in pyenv")
    digest = hashlib.sha256((found + REQUIREMENTS.read_text(encoding="utf-8")).encode()).hexdigest()[:12]
    folder = ROOT / ".venv" / f"nameko-{digest}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:  # closing it releases it
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes run side by side; the first one makes it
        if not (folder / "ready").exists():
            _make(found, folder)
    return str(folder / "bin" / "python")


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


def _make(interpreter: str, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([interpreter, "-m", "venv", str(folder)], [*pip, "-r", str(REQUIREMENTS)]):
        ran = subprocess.run(command, capture_output=True, text=True, timeout=MAKE_SECONDS)
        if ran.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            raise Unavailable(f"{' '.join(command[:4])} failed: {(ran.stderr or ran.stdout).strip()[-500:]}")
    (folder / "ready").touch()
