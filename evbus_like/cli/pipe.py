"""`evbus pipe`: send newline-delimited JSON events from files or standard input."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from evbus_like.cli import common, console, lines
from evbus_like.engine.account import Account
from evbus_like.engine.errors import PutError, PutTimeout

KEYS = {"routing_key", "body", "profile", "headers", "key"}
SHOWN = 100  # bad lines that are reported; more are only counted


class Pipe:
    """Puts one line after another, and counts the bad ones."""

    def __init__(self, hub: Any, default_profile: str) -> None:
        self._hub = hub
        self._default_profile = default_profile
        self.read = 0
        self.bad = 0

    async def file(self, path: str, stopped: asyncio.Event, progress: console.Progress) -> None:
        """Put every line of one file; a file that cannot be read counts as one bad line."""
        name = "standard input" if path == "-" else path
        try:
            async for number, line in lines.read(path, stopped):
                if line is not None and not line.strip():
                    continue
                self.read += 1
                try:
                    await self._put(line, stopped)
                except (ValueError, PutError) as error:
                    self._report(f"{name}:{number}: {error}")
                progress.show(self.so_far())
                if stopped.is_set():
                    return
        except OSError as error:
            self._report(f"{name} cannot be read: {error.strerror or error}")

    async def _put(self, line: bytes | None, stopped: asyncio.Event) -> None:
        event = parse(line)
        event.setdefault("profile", self._default_profile)
        while True:
            try:
                await self._hub.evbus.broker.put(**event)
                return
            except PutTimeout as full:
                states = {lane["state"] for lane in self._hub.evbus.init.status()["destinations"].values()}
                if stopped.is_set() or "refused" in states:
                    stopped.set()
                    raise
                print(f"evbus pipe: waiting: {full}", file=sys.stderr)

    def _report(self, text: str) -> None:
        self.bad += 1
        if self.bad <= SHOWN:
            print(f"evbus pipe: {text}", file=sys.stderr)
        if self.bad == SHOWN:
            print("evbus pipe: further bad lines are only counted", file=sys.stderr)

    def so_far(self) -> str:
        """Describe the progress."""
        account = self._hub.evbus.init.account()
        bad = f", {self.bad} bad" if self.bad else ""
        return f"{self.read} read{bad}, {account.delivered} delivered{common.troubles(self._hub)}"


def parse(line: bytes | None) -> dict[str, Any]:
    """Return the arguments of `put` in a line; raises ValueError that says what is wrong with it.

    The parser of the standard library keeps integers of any size; faster ones turn large ones into floats.
    """
    if line is None:
        raise ValueError(f"the line is longer than {lines.MAX_LINE} bytes")
    try:
        event = json.loads(line, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise ValueError("the line is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(event, Mapping):
        raise ValueError(f"a line must be a JSON object, not {type(event).__name__}")
    unknown = sorted(set(event) - KEYS)
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; a line has body, routing_key, profile, headers, key")
    if "body" not in event:
        raise ValueError('"body" is missing')
    return dict(event)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


async def run(hub: Any) -> int:
    """Send all lines, deliver what is queued, and print the account."""
    settings = hub.OPT.evbus_like
    given = await common.contexts(hub)
    pipe = Pipe(hub, settings.default_profile)
    with console.Progress("pipe") as progress:
        async with common.running(hub, given) as stopped:
            for path in settings.events or ["-"]:
                if not stopped.is_set():
                    await pipe.file(path, stopped, progress)
            account = await common.drain(hub, float(settings.timeout), progress, pipe.so_far)
    _show(settings.json, pipe, account)
    number = getattr(stopped, "number", None)
    if number is not None:
        print(f"evbus pipe: ended by {signal.Signals(number).name} before the end of the input", file=sys.stderr)
        return 128 + int(number)
    return 0 if account.complete and not pipe.bad else 1


def _show(as_json: bool, pipe: Pipe, account: Account) -> None:
    if as_json:
        console.document({"read": pipe.read, "bad": pipe.bad, **account.as_dict()})
        return
    console.account_table(f"{pipe.read} events read, {pipe.bad} bad", account)
    print(account)
