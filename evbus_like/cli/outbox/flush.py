"""`evbus outbox flush`: send the events in the outbox, and exit."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from evbus_like.cli import common, console, file, shown
from evbus_like.engine.account import Account
from evbus_like.engine.outbox.inspect import Summary, summarize
from evbus_like.hub.profiles import plan

IN_MEMORY = "internal"  # events sent there would be lost with this process


async def run(hub: Any) -> int:
    """Send the waiting events; return 0 if all were delivered."""
    settings = hub.OPT.evbus_like
    path = file.path(hub)
    if not file.there(path):
        if settings.json:
            console.document({"path": str(path), "exists": False, "left": {}, "dead": 0, "account": None})
        else:
            print(file.nothing(path))
        return 0
    flushed = await flush(hub, path, await sendable(hub))
    if settings.json:
        console.document(flushed.as_dict())
    else:
        flushed.show()
    return flushed.code


async def sendable(hub: Any) -> Mapping[str, Any]:
    """Return the profiles of the credentials file but those in memory; raises CredentialsError and ProfileError."""
    given = await common.contexts(hub)
    kept = {item.provider: item.name for item in plan.plan(hub, given) if item.plugin == IN_MEMORY}
    for name in kept.values():
        print(f"evbus: {name} is skipped: its queue is in the memory of another process", file=sys.stderr)
    sent = {provider: its for provider, its in given.items() if provider not in kept}
    plan.entries(hub, sent, hub.evbus.RUNTIME.reporter)
    return sent


class Flushed:
    """The result of a flush."""

    def __init__(self, account: Account, summary: Summary, number: int | None) -> None:
        self.account = account
        self.summary = summary
        self.number = number  # of the signal that stopped it

    @property
    def code(self) -> int:
        """The exit code."""
        if self.number is not None:
            return 128 + self.number
        return 0 if self.account.complete and not self.summary.waiting else 1

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        summary = self.summary
        base = {"path": str(summary.path), "exists": True, "left": summary.waiting, "dead": summary.dead}
        return {**base, "account": self.account.as_dict()}

    def show(self) -> None:
        """Print the account and what remains."""
        console.account_table(f"{shown.many(self.account.delivered, 'event')} sent", self.account)
        left = ", ".join(f"{count} for {name}" for name, count in self.summary.waiting.items())
        print(f"left in the outbox {self.summary.path}: {left or 'nothing'}")
        if self.account.dead_lettered:
            print(f"dead-lettered: {self.account.dead_lettered}; see evbus dead ls, or the profile's dead_letter")
        if self.number is not None:
            print(f"evbus: ended by {signal.Signals(self.number).name}", file=sys.stderr)


async def flush(hub: Any, path: Path, given: Mapping[str, Any]) -> Flushed:
    """Run a bus on the outbox until it is empty, or nothing was sent for --timeout seconds."""
    os.environ["EVBUS_OUTBOX"] = str(path)  # profiles without outbox: always would not open it
    timeout = float(hub.OPT.evbus_like.timeout)

    def so_far() -> str:
        account = hub.evbus.init.account()
        return f"{account.delivered} sent, {account.remaining} wait{common.troubles(hub)}"

    with file.changing(path), console.Progress("flush") as progress:
        async with common.running(hub, given) as stopped:
            await _until_done(hub, timeout, stopped, progress, so_far)
            account = await common.drain(hub, min(timeout, 5.0), progress, so_far)
    with file.reading(path):
        summary = await asyncio.to_thread(summarize, path)
    return Flushed(account, summary, getattr(stopped, "number", None))


async def _until_done(hub: Any, timeout: float, stopped: asyncio.Event, progress: Any, so_far: Any) -> None:
    """Wait while events are sent; do not wait for a destination that refuses, or that is paused."""
    now = asyncio.get_running_loop().time
    settled, since = -1, now()
    while not stopped.is_set() and now() - since < timeout:
        account, states = hub.evbus.init.account(), hub.evbus.init.status()["destinations"]
        held = {name for name, each in states.items() if each["state"] in ("refused", "paused")}
        if not any(lane.remaining and lane.destination not in held for lane in account.lanes):
            return
        if account.accepted - account.remaining != settled:
            settled, since = account.accepted - account.remaining, now()
        progress.show(so_far())
        with suppress(TimeoutError):
            async with asyncio.timeout(common.TICK):
                await stopped.wait()
