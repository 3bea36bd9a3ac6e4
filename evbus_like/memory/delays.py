"""Events in memory that wait for their retry, and go to the end of their queue when it is due."""

from __future__ import annotations

import asyncio
from time import monotonic

from evbus_like.engine.errors import QueueFull
from evbus_like.engine.event import Event
from evbus_like.engine.queue import Queue


class Delays:
    """The delayed events of one queue: at most as many as the queue may hold. While nobody reads it, they wait on."""

    def __init__(self, mailbox: Queue[Event]) -> None:
        self._mailbox = mailbox
        self._due: dict[Event, float] = {}
        self._timers: dict[Event, asyncio.TimerHandle] = {}

    def add(self, event: Event, delay: float) -> None:
        """Delay an event; raises QueueFull."""
        most = self._mailbox.maxsize
        if 0 < most <= len(self._due):
            raise QueueFull(f"{most} events of {self._mailbox.name} wait for their retry already")
        self._due[event] = monotonic() + delay
        self._start(event)

    def _start(self, event: Event) -> None:
        left = max(0.0, self._due[event] - monotonic())
        self._timers[event] = asyncio.get_running_loop().call_later(left, self._arrive, event)

    def _arrive(self, event: Event) -> None:
        del self._due[event], self._timers[event]
        self._mailbox.items.append(event)  # even if the queue is full: the event had its place
        self._mailbox.wake()

    def start(self) -> None:
        """Let time pass: the queue has a reader."""
        for event in self._due.keys() - self._timers.keys():
            self._start(event)

    def stop(self) -> None:
        """Wait for the next reader, whose event loop may be another."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
