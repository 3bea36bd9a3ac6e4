"""A breaker stops a handler while what it depends on is down, and tries with one event whether it is up again."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import Any

from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.rules import MOST, Decision
from evbus_like.engine.suggest import shown

log = logging.getLogger("evbus_like.handlers")

CLOSED, OPEN, TRYING = "closed", "open", "trying"
SLOTS = 10  # parts of the window, that are forgotten one by one
MOST_TRIALS = 100  # failed trials in a row that cost no attempt: an event that always fails must not stay for ever


@dataclass(frozen=True)
class Breaker:
    """The option `breaker` of a handler.

    When at least `at_least` calls of the last `window` seconds have ended, and the share `failures` of them has failed,
    the handler gets no event for `pause` seconds. Then one event is tried: if it fails, the next pause begins. `only`
    are the exceptions that count; by default all but `Retry`, `Reject` and `Requeue`.
    """

    failures: float = 0.5
    window: float = 60.0
    pause: float = 30.0
    at_least: int = 5
    only: type[BaseException] | tuple[type[BaseException], ...] = ()

    def problem(self) -> str:
        """Say what is wrong with it; nothing where all is well."""
        for name, most, what in (
            ("failures", 1, "the share of failed calls, greater than 0 and at most 1"),
            ("window", MOST, f"seconds, greater than 0 and at most {MOST}"),
            ("pause", MOST, f"seconds, greater than 0 and at most {MOST}"),
            ("at_least", MOST, f"a number of calls, greater than 0 and at most {MOST}"),
        ):
            value = getattr(self, name)
            kinds = (int,) if name == "at_least" else (int, float)
            if not isinstance(value, kinds) or isinstance(value, bool) or not 0 < value <= most:
                return f"{name} must be {what}, not {shown(value)}"
        for each in self.only if isinstance(self.only, (tuple, list)) else (self.only,):
            if not (isinstance(each, type) and issubclass(each, BaseException)):
                return f"only must be classes of exceptions, and {shown(each)} is none"
        return ""

    def counts(self, error: BaseException) -> bool:
        """Whether an exception is a failure of what the handler depends on."""
        if self.only:
            return isinstance(error, self.only if isinstance(self.only, type) else tuple(self.only))
        return isinstance(error, Exception) and not isinstance(error, Decision)

    def __str__(self) -> str:
        return f"{self.failures:.0%} of {self.window:g} s, pause {self.pause:g} s"


class CircuitBreaker:
    """The breaker of one consumer: closed while events are handled, open in a pause, then trying with one event."""

    def __init__(self, options: Breaker, name: str) -> None:
        self.options = options
        self.state = CLOSED
        self.trouble = ""
        self._name = name
        self._slots: deque[list[Any]] = deque()  # [when it began, calls, failures], the oldest first
        self._gate = asyncio.Event()
        self._gate.set()
        self._timer: asyncio.TimerHandle | None = None
        self._until = 0.0
        self._trial: asyncio.Task[Any] | None = None  # the worker that tries
        self._trials = 0  # failed ones in a row
        self._free: set[ReceivedEvent] = set()  # events whose failure costs no attempt

    # ---- for the workers

    async def wait(self) -> None:
        """Wait until this worker may take an event; it has done the one before."""
        if self._trial is not None and self._trial is asyncio.current_task():  # it said nothing: another one is tried
            self._trial = None
            self._gate.set()
        await self._gate.wait()

    def begin(self) -> bool:
        """Whether the worker may handle the event that it has taken."""
        if self.state == TRYING and self._trial is None:
            self._trial = asyncio.current_task()
            self._gate.clear()
            return True
        return self.state == CLOSED

    # ---- for the outcomes of calls

    def succeeded(self) -> None:
        """Note that a call has succeeded."""
        if self.state == CLOSED:
            self._count(0)
        elif self._is_trial():
            self._close()

    def failed(self, event: ReceivedEvent, error: BaseException) -> None:
        """Note that a call has failed."""
        if not self.options.counts(error):
            return
        if self.state == CLOSED:
            calls, failures = self._count(1)
            if calls >= self.options.at_least and failures >= self.options.failures * calls:
                what = f"{failures} of {calls} calls failed within {self.options.window:g} s"
                self._open(f"{what}, the last with {type(error).__name__}")
        elif self._is_trial():
            self._trials += 1
            if self._trials <= MOST_TRIALS:
                self._free.add(event)
            self._open(f"the event that was tried failed, too, with {type(error).__name__}")
        else:  # it was under way when the pause began
            self._free.add(event)

    def is_free(self, event: ReceivedEvent) -> bool:
        """Whether the failure of this event costs no attempt: it is handled again after the pause."""
        if event not in self._free:
            return False
        self._free.discard(event)
        return True

    def _is_trial(self) -> bool:
        return self._trial is not None and self._trial is asyncio.current_task()

    def _count(self, failed: int) -> tuple[int, int]:
        """Count a call, and return how many calls and failures the window has."""
        now, slots, window = monotonic(), self._slots, self.options.window
        if not slots or now - slots[-1][0] > window / SLOTS:
            while slots and now - slots[0][0] > window:
                slots.popleft()
            slots.append([now, 0, 0])
        slots[-1][1] += 1
        slots[-1][2] += failed
        return (sum(each[1] for each in slots), sum(each[2] for each in slots)) if failed else (0, 0)

    # ---- states

    def _open(self, why: str) -> None:
        pause, first = self.options.pause, self.state == CLOSED
        self.state, self._trial, self._until = OPEN, None, monotonic() + pause
        self._gate.clear()
        self._slots.clear()
        self._timer = asyncio.get_running_loop().call_later(pause, self._try)
        self.trouble = f"its breaker is open: {why}"
        level = logging.WARNING if first else logging.INFO
        log.log(level, "%s: its breaker stops it for %g s: %s", self._name, pause, why)

    def _try(self) -> None:
        self.state = TRYING
        self._gate.set()

    def _close(self) -> None:
        log.warning("%s: its breaker lets events through again: the event that was tried succeeded", self._name)
        self.state, self.trouble, self._trial, self._trials = CLOSED, "", None, 0
        self._free.clear()
        self._gate.set()

    @property
    def text(self) -> str:
        """Why events are not handled, and when one is tried; empty while they are."""
        if self.state == OPEN:
            return f"{self.trouble}; one event is tried in {max(0.0, self._until - monotonic()):.0f} s"
        return f"{self.trouble}; one event is tried" if self.state == TRYING else ""

    def close(self) -> None:
        """End the pause; called at the end of the consumer."""
        if self._timer is not None:
            self._timer.cancel()
