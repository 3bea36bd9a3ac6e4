"""`evbus run --processes N`: supervise N workers, which are this command once more, and report on all of them."""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from evbus_like.cli import common, console, seen, shown, tables
from evbus_like.cli.errors import UsageError
from evbus_like.engine.account import SUMMED, Account, LaneAccount
from evbus_like.hub import monitoring
from evbus_like.hub.profiles import settings
from evbus_like.monitor.interface import Interface, nothing
from evbus_like.monitor.workers import Workers
from evbus_like.processes.child import Child
from evbus_like.processes.count import count
from evbus_like.processes.supervise import Supervision
from evbus_like.processes.supervisor import Limits
from evbus_like.processes.watch import watching

FILES = ("acct_file", "services_file", "config")  # every worker reads them
ACCOUNT = ("put", "unmatched", "rejected", "queued")


async def run(hub: Any, wanted: object) -> int:
    """Run the workers until a signal; return 0, 1 if something failed or is lost, 2 if none could be started."""
    number = count(wanted)
    for name in FILES:
        _refuse_pipe(name, hub.OPT.evbus_like.get(name))
    limits = Limits(
        stop=float(settings.config(hub, "stop_timeout", 30.0)),
        silent=float(settings.config(hub, "worker_timeout", 300.0)),
    )
    report = Report(number, bool(hub.OPT.evbus_like.json))
    supervision = Supervision(number, limits, report)
    workers = Workers(monitoring.sockets, number, lambda: supervision.children)
    hub.evbus.RUNTIME.monitor = monitoring.Monitor(hub, workers.status, lambda: interface(supervision.children))
    async with seen.opened(hub) as report.url, watching(common.watched(hub), supervision.reload):
        code = await supervision.run()
    if supervision.reason:  # else nothing was started
        report.stopped(supervision.reason, code)
    return code


def interface(children: Sequence[Child]) -> Interface:
    """Return what the application declares, handles and serves, as one of the workers has told; all have the same."""
    started = [child.told["started"] for child in children if "started" in child.told]
    return started[-1]["interface"] if started else nothing()


def _refuse_pipe(name: str, path: str | None) -> None:
    """Raise UsageError for a file that only one process can read."""
    if not path:
        return
    try:
        kind = os.stat(path).st_mode
    except OSError:
        return  # the first worker says what is wrong with it
    if not stat.S_ISREG(kind):
        raise UsageError(
            f"--{name.replace('_', '-')} {path} is not a regular file, and each of several processes must read it:"
            " write it to a file, or run without --processes"
        )


class Report:
    """Reports on all workers as one: tables for people, JSON lines for machines."""

    def __init__(self, number: int, as_json: bool) -> None:
        self.url: str | None = None  # of the HTTP port
        self._number = number
        self._as_json = as_json
        self._stopped: list[Mapping[str, Any]] = []  # what workers told last; those that were killed told nothing
        self._killed = 0

    def receiving(self, children: Sequence[Child]) -> None:
        """Report once that all receive, and what."""
        told = children[0].told["started"]
        if self._as_json:
            workers = [{"worker": child.number, "pid": child.pid} for child in children]
            both = {"handlers": told["handlers"], "services": told["services"]}
            console.line({"event": "receiving", "pid": os.getpid(), "http": self.url, "workers": workers, **both})
            return
        tables.started(
            told["handlers"], told["services"], f"in each of {self._number} workers of process {os.getpid()}"
        )
        pids = ", ".join(str(child.pid) for child in children)
        print(
            f"evbus run: all {self._number} workers receive (processes {pids});"
            " SIGTERM or Ctrl-C stops, SIGHUP reloads, SIGUSR1 replaces them",
            file=sys.stderr,
            flush=True,
        )

    def stopping(self, reason: str) -> None:
        """Report that all stop."""
        if self._as_json:
            console.line({"event": "stopping", "reason": reason})
        text = "running handlers finish, and the events they put are delivered; a second signal ends them at once"
        print(f"evbus run: {reason}: all workers stop: {text}", file=sys.stderr, flush=True)

    def ended(self, child: Child) -> None:
        """Keep the counts of a worker that has ended."""
        if "stopped" in child.told:
            self._stopped.append(child.told["stopped"])
            self._stopped[:] = [summed(self._stopped)]
        elif "started" in child.told:
            self._killed += 1

    def stopped(self, reason: str, code: int) -> None:
        """Print the counts of all workers, also of those that were replaced."""
        total = summed(self._stopped)
        if self._as_json:
            counted = {"event": "stopped", "reason": reason, "exit_code": code, "workers_killed": self._killed}
            console.line({**counted, **total})
            return
        tables.stopped(reason, total["handlers"], total["services"], _account(total["account"]))
        if self._killed:
            print(f"{shown.many(self._killed, 'worker')} ended without counts: their events are delivered again")


def summed(stopped: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sums of what workers told at their ends."""
    return {
        "unhandled_in_memory": sum(each["unhandled_in_memory"] for each in stopped),
        "handlers": _rows([row for each in stopped for row in each["handlers"]], ("queue",)),
        "services": _rows([row for each in stopped for row in each["services"]], ("service", "source")),
        "account": {
            **{name: sum(each["account"][name] for each in stopped) for name in (*ACCOUNT, *SUMMED)},
            "destinations": _rows(
                [row for each in stopped for row in each["account"]["destinations"]], ("destination",)
            ),
        },
    }


def _rows(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row for each of the same keys, with the sums of its numbers."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        total = found.setdefault(tuple(row[key] for key in keys), {})
        for name, value in row.items():
            total[name] = _sum(total.get(name), value)
    return list(found.values())


def _sum(total: Any, value: Any) -> Any:
    """Add a number, or the numbers of a mapping; of other values, return one that is not empty."""
    if isinstance(value, int):
        return (total or 0) + value
    if isinstance(value, Mapping):
        return dict(Counter(total or {}) + Counter(value))
    return value or total or value


def _account(data: Mapping[str, Any]) -> Account:
    lanes = [LaneAccount(**row) for row in data["destinations"]]
    return Account(**{name: data[name] for name in ACCOUNT}, lanes=lanes)
