"""Fixtures of the unit tests: a hub of one's own, a bus that runs on it, and packages made up for pop to find."""

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pop.hub
import pytest
from hypothesis import settings

from tests.unit.fakes import HANG

# No deadline: a busy machine is no failure. Fewer examples than the default of 100: every run tries new ones.
settings.register_profile("unit", deadline=None, max_examples=60)
settings.load_profile("unit")


@pytest.fixture
def hub() -> Any:
    """A fresh hub with the bus on it."""
    made = pop.hub.Hub()
    made.pop.sub.add(dyne_name="evbus")
    return made


@pytest.fixture
async def start(hub: Any) -> AsyncIterator[Callable[..., Any]]:
    """A function that starts the hub's bus with some contexts and gives the listener's task; stopped at the end."""
    tasks: list[asyncio.Task[None]] = []

    async def run(contexts: Any = None, **opt: Any) -> asyncio.Task[None]:
        if opt:
            hub.OPT = {"evbus_like": opt}
        task = asyncio.create_task(
            hub.evbus.init.start({"internal": {"default": None}} if contexts is None else contexts)
        )
        tasks.append(task)
        await hub.evbus.init.join(HANG)
        return task

    yield run
    async with asyncio.timeout(HANG):
        await hub.evbus.init.stop(0.2)
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a package which pop finds: {"ingress/redis.py": source}."""

    def write(files: dict[str, str], name: str = "their_app") -> Path:
        root = tmp_path / "site"
        dynes = sorted({path.split("/")[0] for path in files})
        conf = f"DYNE = { ({dyne: [dyne] for dyne in dynes})!r}\n"
        for path, source in {"conf.py": conf, "__init__.py": "", **files}.items():
            target = root / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(textwrap.dedent(source))
        return root

    return write


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., str]:
    """A function that runs a script in a process of its own, with a folder on its path, and gives what it printed."""

    def run(script: str, path: Path | None = None) -> str:
        prefix = f"import sys; sys.path.append({str(path)!r})\n" if path else ""
        done = subprocess.run(
            [sys.executable, "-c", prefix + textwrap.dedent(script)],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
