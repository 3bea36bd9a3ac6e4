"""The metrics as instruments of OpenTelemetry, under the same names, for applications that have set up an SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any
from weakref import WeakSet

from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter_provider

from evbus_like.monitor.document import Process
from evbus_like.monitor.metrics import METRICS, Metric

WITHIN = 1.0  # seconds that an event loop has to answer the thread that collects
FRESH = 0.5  # seconds that an answer is used for: one collection asks for every instrument

_metered: WeakSet[Any] = WeakSet()  # meters that have the instruments, which can be made only once
_read: WeakSet[ProcessReader] = WeakSet()


class ProcessReader:
    """Reads the document of a bus for the thread that collects; `close` ends it."""

    def __init__(self, process: Callable[[], Process]) -> None:
        self._process: Callable[[], Process] | None = process
        self._loop = asyncio.get_running_loop()
        self._found: Process | None = None
        self._at = float("-inf")
        _read.add(self)
        provider = get_meter_provider()
        if provider not in _metered:
            _make(provider.get_meter("evbus_like"))
            _metered.add(provider)

    def read(self) -> Process | None:
        """Return the document; None if the bus has stopped, or its loop does not answer."""
        process = self._process
        if process is None or self._loop.is_closed():
            return None
        if monotonic() - self._at > FRESH:  # also after no answer, or each instrument would wait for one
            self._found = self._ask(process)
            self._at = monotonic()
        return self._found

    def _ask(self, process: Callable[[], Process]) -> Process | None:
        async def ask() -> Process:
            return process()

        try:
            if asyncio.get_running_loop() is self._loop:
                return process()
        except RuntimeError:  # this thread has no loop
            pass
        asking = ask()
        try:
            asked = asyncio.run_coroutine_threadsafe(asking, self._loop)
        except RuntimeError:  # the loop was closed just now
            asking.close()
            return None
        try:
            return asked.result(WITHIN)
        except TimeoutError:
            asked.cancel()
            return None

    def close(self) -> None:
        """Give no numbers any more."""
        self._process = self._found = None
        _read.discard(self)


def _make(meter: Meter) -> None:
    kinds = {"counter": meter.create_observable_counter, "gauge": meter.create_observable_gauge}
    for metric in METRICS:
        if metric.kind == "histogram":  # an SDK takes no histogram that is ready made: its sum and its count
            for part in ("sum", "count"):
                meter.create_observable_counter(
                    f"{metric.name}_{part}", [_observing(metric, part)], description=metric.help
                )
        else:
            kinds[metric.kind](metric.name, [_observing(metric)], description=metric.help)


def _observing(metric: Metric, part: str = "") -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterator[Observation]:
        for reader in list(_read):
            process = reader.read()
            for labels, value in metric.find(process) if process is not None else ():
                yield Observation(value[part] if part else value, dict(zip(metric.labels, labels, strict=True)))

    return observe
