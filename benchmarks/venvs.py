"""The peers' virtual environments, made when they are missing and kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.interop import venv as interop

REQUIREMENTS = Path(__file__).parent.parent / "requirements" / "peers.txt"
OURS = "evbus_like"
NAMEKO = "nameko"  # on a Python of its own, as for the tests with the real nameko


def sections() -> dict[str, list[str]]:
    """Read the requirements of each environment from requirements/peers.txt."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines():
        if line.startswith("# venv:"):
            name = line.removeprefix("# venv:").strip()
            found[name] = []
        elif line and not line.startswith("#"):
            found[name].append(line)
    return found


def python(name: str) -> str:
    """Give the interpreter of an environment, which is made if need be; `OURS` is the one that runs the benchmark.

    Raises interop.Unavailable where this machine cannot have nameko.
    """
    if name == OURS:
        return sys.executable
    if name == NAMEKO:
        return interop.python()
    wanted = sections()[name]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256("\n".join([version, *wanted]).encode()).hexdigest()[:12]
    folder = _cache() / f"bench-venv-{name}-{digest}"
    if not (folder / "ready").exists():
        _make(folder, wanted)
    return str(folder / "bin" / "python")


def environment() -> dict[str, str]:
    """Give the environment variables of a leg: nobody's Python settings, and every module compiled beforehand.

    An installed package has its byte code beside it; evbus_like, run from its source, would be compiled anew by each
    leg where PYTHONDONTWRITEBYTECODE is set.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return own | {"PYTHONPYCACHEPREFIX": str(_cache() / "bench-byte-code")}


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "evbus_like"


def _make(folder: Path, wanted: list[str]) -> None:
    print(f"making {folder} for {', '.join(wanted)} ...", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *wanted], check=True)
    (folder / "ready").touch()


def versions(name: str) -> dict[str, str]:
    """Give the versions of all that is installed in an environment."""
    code = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    ran = subprocess.run([python(name), "-I", "-c", code], check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(ran.stdout)
    return dict(sorted(found.items()))
