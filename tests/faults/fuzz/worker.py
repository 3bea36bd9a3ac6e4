"""The worker that is fuzzed: `evbus run` with an application of handlers and a service."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.integration.commands import EVBUS

HANDLERS = """
import evbus_like.handlers as evbus

QUIET = {"expected_exceptions": (Exception,), "backoff": 0.1, "max_backoff": 0.1}

@evbus.handler("fuzz", "any", attempts=2, max_workers=50, **QUIET)
async def take(hub, event):
    if len(event.raw) % 10 == 3:
        raise ValueError("not this one")

@evbus.handler("fuzz", "put", on_error=evbus.REJECT, **QUIET)
async def put_on(hub, event):
    await hub.evbus.broker.put("onward", b"x", profile="memory")
    await (await hub.ingress.internal.get("x")).get()
    if len(event.raw) % 10 == 3:
        raise ValueError(event.raw, event.headers)
"""
SERVICE = """
import evbus_like.handlers as evbus

SERVICE = "fuzzed"
MAX_WORKERS = 50
QUIET = {"expected_exceptions": (Exception,)}

@evbus.method(**QUIET)
async def hello(hub, *args, **kwargs):
    if len(args) > 2:
        raise ValueError(args)
    return {"args": args, "kwargs": kwargs}

@evbus.method(**QUIET)
async def other(hub, a, b=1):
    return evbus.transfer("fuzzed", "hello", a, b=b)
"""


class Worker:
    """A process of `evbus run` in a folder; use it in a `with`."""

    def __init__(self, folder: Path, profiles: dict[str, Any], handlers: str = HANDLERS) -> None:
        files = {
            "fuzz_app/conf.py": 'DYNE = {"handler": ["handler"], "service": ["service"]}\n',
            "fuzz_app/__init__.py": "",
            "fuzz_app/handler/fuzz.py": handlers,
            "fuzz_app/service/fuzzed.py": SERVICE,
            "acct.json": json.dumps(profiles),
        }
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        (folder / "acct.json").chmod(0o600)
        self._folder = folder
        self.log = folder / "worker.log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Worker:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("ACCT_", "EVBUS_"))}
        with (self._folder / "out.log").open("wb") as out, self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [EVBUS, "run", "--acct-file", "acct.json", "--log-level", "error"],
                cwd=self._folder,
                env=own,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
            )
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def memory(self) -> float:
        """Its resident memory in MB."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def stop(self, timeout: float = 60.0) -> int:
        """End it by SIGTERM and return its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout)
