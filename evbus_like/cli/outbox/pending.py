"""`evbus outbox set-aside` and `evbus outbox discard`: what waits for a destination, by its name."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from evbus_like.cli import ask, common, console, file, shown
from evbus_like.cli.errors import UsageError
from evbus_like.engine.outbox import StorageError, pending, requests
from evbus_like.engine.outbox.inspect import summarize
from evbus_like.engine.outbox.lock import holder


async def set_aside(hub: Any) -> int:
    """Make dead letters of what waits for destinations; return 1 if nothing waits for one of them."""
    return await _run(hub, requests.SET_ASIDE, "set aside")


async def discard(hub: Any) -> int:
    """Delete what waits for destinations, after a confirmation; return 1 also if the user declined."""
    return await _run(hub, requests.DISCARD, "deleted")


async def _run(hub: Any, action: str, word: str) -> int:
    settings, path = hub.OPT.evbus_like, file.path(hub)
    names = list(dict.fromkeys(settings.names))
    if not names:
        raise UsageError(f"name a destination, as `evbus outbox ls` shows it: evbus outbox {action} amqp:orders")
    with file.reading(path):
        waiting = (await asyncio.to_thread(summarize, path)).waiting if file.there(path) else {}
    missing = [name for name in names if not waiting.get(name)]
    for name in missing:
        print(f"evbus outbox {action}: nothing waits for {shown.visible(name)} in {path}", file=sys.stderr)
    there = [name for name in names if name not in missing]
    if there and action == requests.DISCARD and not settings.yes:
        counts = ", ".join(f"{shown.visible(name)} {waiting[name]}" for name in there)
        if not ask.agreed(f"{shown.many(sum(waiting[name] for name in there), 'event')} for good ({counts})"):
            return 1
    done = dict.fromkeys(there, 0)
    left = False  # whether a signal came before the end
    async with common.signals() as stopped:
        with console.Progress(action) as progress:
            for name in there:
                left = left or stopped.is_set()
                async with aclosing(_changed(path, action, name)) as parts:
                    while not left and (part := await anext(parts, None)) is not None:
                        done[name] += part[0]
                        progress.show(f"{done[name]} of {waiting[name]} for {shown.visible(name)}")
                        left = part[1] and stopped.is_set()
    if settings.json:
        console.document({"path": str(path), "done": done, "missing": missing})
    for name, count in done.items() if not settings.json else ():
        print(f"{shown.many(count, 'event')} for {shown.visible(name)} {word}")
    if left:
        number = int(getattr(stopped, "number", 0))
        print(f"evbus outbox {action}: ended by {signal.Signals(number).name}; the others wait", file=sys.stderr)
        return 128 + number
    return 1 if missing else 0


async def _changed(path: Path, action: str, name: str) -> AsyncGenerator[tuple[int, bool], None]:
    """Change what waits for a destination, through the bus that has the outbox open, if one takes requests.

    Yields, every few seconds, how many events were changed since, and whether more may wait.
    """
    if requests.folder(path).exists() and holder(path) is not None:
        more = True
        while more:
            answer = await requests.ask(path, requests.Request(action, (), name))
            if "error" in answer:
                raise StorageError(f"the process that has the outbox {path} open says: {answer['error']}")
            more = bool(answer.get("more"))
            yield int(answer["done"]), more
        return
    box = await file.opened(path)
    try:
        more = True
        while more:
            count, more = await pending.change(box, action, name)
            yield count, more
    finally:
        await box.close()
