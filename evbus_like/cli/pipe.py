"""`evbus pipe`: send newline-delimited JSON events from files or standard input."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import sys
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from evbus_like.cli import common, console, lines, shown
from evbus_like.engine import suggest
from evbus_like.engine.account import Account
from evbus_like.engine.errors import PutError, PutTimeout, SerializeError
from evbus_like.engine.values import exact_float

KEYS = {"routing_key", "body", "profile", "headers", "key"}
LATEST = 1_000_000  # lines of which the place is remembered for each destination, more than a lane holds by default
SHOWN = 100  # bad lines that are reported; more are only counted


class Place(NamedTuple):
    """A line of the input: the number of the file on the command line, and of the line in it."""

    file: int
    line: int


class Pipe:
    """Puts one line after another, counts the bad ones, and knows which line comes next."""

    def __init__(self, hub: Any, default_profile: str, from_line: int = 1) -> None:
        self._hub = hub
        self._default_profile = default_profile
        self._from_line = from_line  # of the first file
        self.read = 0
        self.bad = 0
        self.next = Place(0, from_line)  # the first line that was not accepted
        self._accepted: dict[str, deque[Place]] = {}  # by destination, the latest

    async def file(self, index: int, path: str, stopped: asyncio.Event, progress: console.Progress) -> bool:
        """Put every line of one file; return whether it was read to its end.

        A file that cannot be read counts as one bad line.
        """
        name = "standard input" if path == "-" else path
        first = self._from_line if index == 0 else 1
        self.next = Place(index, first)
        try:
            async for number, line in lines.read(path, stopped):
                if number < first or (line is not None and not line.strip()):
                    continue
                self.read += 1
                self.next = Place(index, number)
                try:
                    await self._put(line, stopped)
                except (ValueError, SerializeError) as error:  # BadEvent and EventTooLarge are ValueErrors
                    self._report(f"{name}:{number}: {error}")
                except PutError as error:  # not the line's fault
                    self.read -= 1
                    self._report(f"stopped before {name}:{number}: {error}")
                    return False
                self.next = Place(index, number + 1)
                progress.show(self.so_far())
                if stopped.is_set():
                    return False
        except OSError as error:
            self._report(f"{name} cannot be read: {error.strerror or error}")
        return not stopped.is_set()

    async def _put(self, line: bytes | None, stopped: asyncio.Event) -> None:
        event = parse(line)
        event.setdefault("profile", self._default_profile)
        while True:
            try:
                receipt = await self._hub.evbus.broker.put(**event)
                break
            except PutTimeout as full:
                states = {lane["state"] for lane in self._hub.evbus.init.status()["destinations"].values()}
                if stopped.is_set() or not states.isdisjoint(("refused", "paused")):
                    raise
                print(f"evbus pipe: waiting: {full}", file=sys.stderr)
        for destination in receipt.destinations or ():
            self._accepted.setdefault(destination, deque(maxlen=LATEST)).append(self.next)

    def unsent(self, account: Account) -> Place | None:
        """Return the first line that a destination has not got and that no outbox keeps, or None."""
        found = [
            accepted[-min(lane.remaining, len(accepted))]
            for lane in account.lanes
            if lane.remaining and (accepted := self._accepted.get(lane.destination))
        ]
        return min(found, default=None)

    def _report(self, text: str) -> None:
        self.bad += 1
        if self.bad <= SHOWN:
            print(f"evbus pipe: {shown.visible(text)}", file=sys.stderr)
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
        event = json.loads(line, parse_constant=_no_constant, parse_float=exact_float)
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
        raise ValueError(
            f"unknown key {suggest.shown(unknown[0])}; a line has body, routing_key, profile, headers, key"
        )
    if "body" not in event:
        raise ValueError('"body" is missing')
    return dict(event)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


async def run(hub: Any) -> int:
    """Send all lines, deliver what is queued, and print the account."""
    settings = hub.OPT.evbus_like
    given = await common.contexts(hub)
    paths = list(settings.events or ["-"])
    pipe = Pipe(hub, settings.default_profile, int(settings.from_line))
    whole = False
    with console.Progress("pipe") as progress:
        async with common.running(hub, given) as stopped:
            for index, path in enumerate(paths):
                whole = await pipe.file(index, path, stopped, progress)
                if not whole:
                    break
            account = await common.drain(hub, float(settings.timeout), progress, pipe.so_far)
    place = min((each for each in (pipe.unsent(account), None if whole else pipe.next) if each), default=None)
    _show(settings.json, pipe, account, paths, place)
    number = getattr(stopped, "number", None)
    if number is not None and not whole:
        print(f"evbus pipe: ended by {signal.Signals(number).name} before the end of the input", file=sys.stderr)
    if place is not None:
        files = shlex.join(["--from-line", str(place.line), *paths[place.file :]])
        print(f"evbus pipe: not everything was sent. To go on: evbus pipe {files}", file=sys.stderr)
    if number is not None and not whole:
        return 128 + int(number)
    return 0 if account.complete and whole and not pipe.bad else 1


def _show(as_json: bool, pipe: Pipe, account: Account, paths: list[str], place: Place | None) -> None:
    if as_json:
        resume = None if place is None else {"file": paths[place.file], "line": place.line}
        console.document({"read": pipe.read, "bad": pipe.bad, "resume": resume, **account.as_dict()})
        return
    console.account_table(f"{pipe.read} events read, {pipe.bad} bad", account)
    print(account)
