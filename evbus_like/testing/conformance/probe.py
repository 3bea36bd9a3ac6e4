"""Handlers for the conformance suite of sources: what they do is plain data, and they note all that happens to them.

A handler is described by a mapping: `service`, `name`, `source`, `event_types`, `options` (keywords of
`evbus_like.handlers.handler`), `is_async`, and what it does with an event:

- `gate`: the path of a file; the handler waits until it is there
- `only`: the bodies that wait or fail; all by default
- `fail`: the attempts that fail, `"always"`, or the path of a file that ends the failing by being there
- `put`: (service, event type) of an event that it puts, with the same body
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evbus_like import handlers as marks

LOOK = 0.02  # seconds between two looks at a gate


class Failed(Exception):
    """What a probe raises when it is told to fail."""


class Notes:
    """A file of JSON lines; each is on its way to the disk when `add` returns, for the process may be killed."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def add(self, what: str, **facts: Any) -> None:
        """Append a line; any thread may do so."""
        line = json.dumps({"what": what, "time": time.time(), "pid": os.getpid(), **facts}, default=_plain)
        os.write(self._file, line.encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _plain(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else repr(value)


def function(spec: Mapping[str, Any], notes: Notes) -> Callable[..., Any]:
    """Make the marked function that a description asks for."""

    def facts(event: Any) -> dict[str, Any]:
        return {
            **{
                name: getattr(event, name)
                for name in ("id", "body", "attempt", "redelivered", "routing_key", "service")
            },
            "handler": spec["name"],
            "headers": dict(event.headers),
            "content_type": event.content_type,
            "in_main_thread": threading.current_thread() is threading.main_thread(),
        }

    def concerned(event: Any) -> bool:
        return spec.get("only") is None or event.body in spec["only"]

    def end(event: Any) -> None:
        if concerned(event) and _fails(spec.get("fail"), event.attempt):
            notes.add("failed", **facts(event))
            raise Failed(f"attempt {event.attempt}")
        notes.add("done", **facts(event))

    async def handle(hub: Any, event: Any) -> None:
        notes.add("begun", **facts(event))
        while concerned(event) and _shut(spec):  # noqa: ASYNC110 - the gate is a file: another process opens it
            await asyncio.sleep(LOOK)
        if "put" in spec:
            service, event_type = spec["put"]
            await hub.evbus.broker.dispatch(service, event_type, event.body)
        end(event)

    def handle_in_a_thread(hub: Any, event: Any) -> None:
        notes.add("begun", **facts(event))
        while concerned(event) and _shut(spec):
            time.sleep(LOOK)
        end(event)

    made = handle if spec.get("is_async", True) else handle_in_a_thread
    made.__name__ = made.__qualname__ = spec["name"]
    mark = marks.handler(spec["source"], spec["event_types"], **spec.get("options", {}))
    marked: Callable[..., Any] = mark(made)
    return marked


def _shut(spec: Mapping[str, Any]) -> bool:
    return bool(spec.get("gate")) and not Path(spec["gate"]).exists()


def _fails(fail: Any, attempt: int) -> bool:
    if isinstance(fail, str):
        return fail == "always" or not Path(fail).exists()
    return attempt in (fail or ())


def functions(service: str) -> dict[str, Callable[..., Any]]:
    """Give the functions of a service, by name, as the file says that the environment's EVBUS_PROBE names."""
    told = json.loads(Path(os.environ["EVBUS_PROBE"]).read_text())
    notes = Notes(told["notes"])
    return {each["name"]: function(each, notes) for each in told["handlers"] if each["service"] == service}


PLUGIN = """\
import evbus_like.testing.conformance.probe as probe

SERVICE = {service!r}
globals().update(probe.functions({service!r}))
"""


def write_app(folder: Path, services: set[str]) -> None:
    """Write an application whose handler plugins are the functions above, one file for each service."""
    app = folder / "probing_app"
    (app / "handler").mkdir(parents=True, exist_ok=True)
    (app / "__init__.py").write_text("")
    (app / "conf.py").write_text('DYNE = {"handler": ["handler"]}\n')
    for number, service in enumerate(sorted(services)):
        (app / "handler" / f"probe{number}.py").write_text(PLUGIN.format(service=service))
