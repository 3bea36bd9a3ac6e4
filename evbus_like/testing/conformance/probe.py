"""Handlers for the source tests: plain data describes what they do, and they record everything that happens.

A description is a mapping: `service`, `name`, `source`, `event_types`, `options` (keywords of
`evbus_like.handlers.handler`), `is_async`, and what the handler does with an event:

- `gate`: the path of a file; the handler waits until it exists
- `only`: the bodies that wait or fail; all by default
- `fail`: the attempts that fail, `"always"`, or the path of a file; attempts fail until it exists
- `raises`: bodies to what their failing attempts raise: "TimeoutError", "Retry 0.5", "Reject why", "Requeue"
- `rules`: for the option of that name, (exception, action, numbers) each
- `where`: for the option of that name, the bodies that are wanted
- `pause`: the path of a file; the handler is paused while it exists
- `breaker` among the options: the keywords of Breaker
- `put`: (service, event type) of an event that it puts, with the same body
"""

from __future__ import annotations

import asyncio
import base64
import builtins
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from evbus_like import handlers as marks

TICK = 0.02  # seconds between two looks at a gate
FACTS = ("id", "body", "attempt", "redelivered", "routing_key", "service")


class Failed(Exception):
    """Raised by a handler that is described to fail."""


class Notes:
    """A file of JSON lines; `add` returns when the kernel has the line, for the process may be killed."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def add(self, kind: str, **facts: Any) -> None:
        """Append a line; safe from any thread."""
        line = json.dumps({"what": kind, "time": time.time(), "pid": os.getpid(), **facts}, default=_plain)
        os.write(self._file, line.encode() + b"\n")


def _plain(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else repr(value)


def function(spec: Mapping[str, Any], notes: Notes) -> Callable[..., Any]:
    """Make the marked function of a description."""

    def note(kind: str, event: Any) -> None:
        facts = {name: getattr(event, name) for name in FACTS}
        in_main_thread = threading.current_thread() is threading.main_thread()
        headers, content_type = dict(event.headers), event.content_type
        notes.add(
            kind,
            **facts,
            handler=spec["name"],
            headers=headers,
            content_type=content_type,
            in_main_thread=in_main_thread,
        )

    def applies(event: Any) -> bool:
        return spec.get("only") is None or event.body in spec["only"]

    def end_batch(events: Any) -> None:
        notes.add("batch", handler=spec["name"], bodies=[event.body for event in events])
        for event in events:
            if applies(event) and _fails(spec.get("fail"), event.attempt):
                note("failed", event)
                raise Failed(f"attempt {event.attempt}")
        for event in events:
            note("done", event)

    async def handle_batch(hub: Any, events: Any) -> None:
        while any(map(applies, events)) and _closed(spec):  # noqa: ASYNC110 - the gate is a file
            await asyncio.sleep(TICK)
        end_batch(events)

    def end(event: Any) -> None:
        if applies(event) and _fails(spec.get("fail"), event.attempt):
            note("failed", event)
            raise _exception(spec.get("raises", {}).get(event.body, ""), event.attempt)
        note("done", event)

    async def handle(hub: Any, event: Any) -> None:
        note("begun", event)
        while applies(event) and _closed(spec):  # noqa: ASYNC110 - the gate is a file: another process opens it
            await asyncio.sleep(TICK)
        if "put" in spec:
            service, event_type = spec["put"]
            await hub.evbus.broker.dispatch(service, event_type, event.body)
        end(event)

    def handle_in_a_thread(hub: Any, event: Any) -> None:
        note("begun", event)
        while applies(event) and _closed(spec):
            time.sleep(TICK)
        end(event)

    made: Any = handle if spec.get("is_async", True) else handle_in_a_thread
    if "batch" in spec.get("options", {}):
        made = handle_batch
    made.__name__ = made.__qualname__ = spec["name"]
    options = dict(spec.get("options", {}))
    if "rules" in spec:
        options["rules"] = [marks.on(_class(name), action, **more) for name, action, more in spec["rules"]]
    if "where" in spec:
        options["where"] = lambda headers, body: body in spec["where"]
    if "breaker" in options:
        options["breaker"] = marks.Breaker(**options["breaker"])
    mark = marks.handler(spec["source"], spec["event_types"], **options)
    marked: Callable[..., Any] = mark(made)
    return marked


async def follow_pauses(specs: Iterable[Mapping[str, Any]], consumers: Iterable[Any], notes: Notes) -> None:
    """Pause each described handler while its file exists, and note when it is paused."""
    files = {f"{spec['service']}.{spec['name']}": Path(spec["pause"]) for spec in specs if "pause" in spec}
    found = [(each, files.get(f"{each.invoker.handler.service}.{each.invoker.handler.name}")) for each in consumers]
    noted = ""
    while any(path for _, path in found):
        for consumer, path in found:
            if path is not None:
                consumer.pause("paused by the test" if path.exists() else "")
                now = "" if not path.exists() else "paused" if consumer.stats.state == "paused" else "pausing"
                if now and now != noted:
                    notes.add(now)
                noted = now
        await asyncio.sleep(TICK)


def _class(name: str) -> Any:
    return getattr(marks, name, None) or getattr(builtins, name, Failed)


def _exception(text: str, attempt: int) -> Exception:
    name, _, said = text.partition(" ")
    if name == "Retry":
        return marks.Retry(after=float(said) if said else None)
    made: Exception = _class(name)(said or f"attempt {attempt}")
    return made


def _closed(spec: Mapping[str, Any]) -> bool:
    return bool(spec.get("gate")) and not Path(spec["gate"]).exists()


def _fails(fail: Any, attempt: int) -> bool:
    if isinstance(fail, str):
        return fail == "always" or not Path(fail).exists()
    return attempt in (fail or ())


def functions(service: str) -> dict[str, Callable[..., Any]]:
    """Return the functions of a service by name, from the file that the environment variable EVBUS_PROBE names."""
    job = json.loads(Path(os.environ["EVBUS_PROBE"]).read_text())
    notes = Notes(job["notes"])
    return {each["name"]: function(each, notes) for each in job["handlers"] if each["service"] == service}


PLUGIN = """\
import evbus_like.testing.conformance.probe as probe

SERVICE = {service!r}
globals().update(probe.functions({service!r}))
"""


def write_app(folder: Path, services: set[str]) -> None:
    """Write an application whose handler plugins hold the functions above, one file for each service."""
    app = folder / "probing_app"
    (app / "handler").mkdir(parents=True, exist_ok=True)
    (app / "__init__.py").write_text("")
    (app / "conf.py").write_text('DYNE = {"handler": ["handler"]}\n')
    for number, service in enumerate(sorted(services)):
        (app / "handler" / f"probe{number}.py").write_text(PLUGIN.format(service=service))
