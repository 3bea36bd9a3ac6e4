"""Report events that could not be delivered, to the log and to the error callback."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Any

from evbus_like.engine.errors import BusStopped
from evbus_like.engine.event import quietly
from evbus_like.engine.failure import Failure
from evbus_like.engine.foreign import ends, tamed, text_of
from evbus_like.engine.sending.lane import Lane
from evbus_like.hub.secrets import redact

log = logging.getLogger("evbus_like.failures")

MAX_WAITING = 1000  # failures in the queue of a slow callback; further ones are only logged and counted
LOGGED_EACH = 10  # failures of one kind at one destination; then one a minute is logged, with the count
REMIND = 60.0  # seconds
CALLBACK_DEADLINE = 30.0  # seconds


class Reporter:
    """Logs each failure, and calls the error callback for one after another, in a task of its own.

    Events that the callback puts are marked quiet, and their failures are only counted. So a callback that puts to the
    failing destination causes no loop.
    """

    def __init__(self, look_up: Callable[[str], Any]) -> None:
        self._look_up = look_up  # finds a function by its place on the hub
        self._ref: str | None = None
        self._failures: asyncio.Queue[Failure] | None = None
        self._task: asyncio.Task[None] | None = None
        self._counts: Counter[tuple[str, str]] = Counter()
        self._logged: dict[tuple[str, str], float] = {}  # when the latest of a kind was logged
        self.missed = 0
        self.lanes: dict[str, Lane] = {}

    def start(self, ref: str | None) -> None:
        """Start, in the event loop of the bus."""
        self._ref = ref
        if ref:
            self._failures = asyncio.Queue()
            self._task = asyncio.create_task(self._run(), name="evbus_like error callback")
            self._warn_if_missing(ref)

    def _warn_if_missing(self, ref: str) -> None:
        """Say at the start that the callback does not exist; the application may still add it to the hub."""
        try:
            self._look_up(ref)
        except Exception:
            log.error(
                "setting error_callback_ref: there is no function %s on the hub, so failures are only logged;"
                " check the name, or merge the application that has it",
                ref,
            )

    def __call__(self, failure: Failure) -> None:
        """Report a failure; never waits and never raises."""
        if failure.event.quiet:
            return
        self._log(failure)
        if self._failures is not None:
            if self._failures.qsize() < MAX_WAITING or failure.stopped:  # a lane's bound holds for what is lost at stop
                self._failures.put_nowait(failure)
            else:
                self.missed += 1

    async def close(self, timeout: float) -> None:
        """Give the callback `timeout` seconds for the failures in its queue, then stop."""
        if self._task is None or self._failures is None:
            return
        try:
            async with asyncio.timeout(timeout):
                await self._failures.join()
        except TimeoutError:
            self.missed += self._failures.qsize()
        self._task.cancel()
        await asyncio.wait([self._task], timeout=timeout)
        if self.missed:
            log.error("error callback %s was too slow: it missed %d failures, which are logged", self._ref, self.missed)
        self._task = self._failures = None

    def _log(self, failure: Failure) -> None:
        error = failure.exception
        key = (failure.destination, type(error).__name__)
        self._counts[key] += 1
        count = self._counts[key]
        if count > LOGGED_EACH and monotonic() - self._logged[key] < REMIND:
            return
        self._logged[key] = monotonic()
        plugin, _ = self._where(failure)
        log.error(
            "Event failed to propagate %s with profile %s: %s: %s [event %s, routing key %r%s]%s",
            f"on plugin {plugin}" if plugin else "to any plugin",
            failure.event.profile,
            type(error).__name__,
            redact(str(tamed(error))),
            failure.event.id,
            failure.event.routing_key,
            "" if failure.final else "; held, and tried again",
            f" ({count} of this kind so far; from here on one a minute is logged)" if count >= LOGGED_EACH else "",
            extra={
                "event_id": failure.event.id,
                "routing_key": failure.event.routing_key,
                "profile": failure.event.profile,
                "destination": failure.destination,
            },
        )

    def _where(self, failure: Failure) -> tuple[str | None, str]:
        lane = self.lanes.get(failure.destination)
        destination: Any = lane.destination if lane is not None else None
        return getattr(destination, "plugin", None), getattr(destination, "profile", "")

    async def _run(self) -> None:
        assert self._failures is not None
        task = asyncio.current_task()
        while True:
            failure = await self._failures.get()
            try:
                async with asyncio.timeout(CALLBACK_DEADLINE):
                    await self._call(failure)
            except BaseException as error:
                if ends(error, task) or (task is not None and task.cancelling()):
                    raise
                # The callback itself failed: it raised (perhaps SystemExit), timed out, or does not exist.
                late = failure.stopped and isinstance(error, BusStopped)  # it put an event, which nobody takes any more
                log.log(
                    logging.DEBUG if late else logging.ERROR,
                    "error callback %s failed: %s",
                    self._ref,
                    redact(text_of(error)),
                )
            finally:
                self._failures.task_done()

    async def _call(self, failure: Failure) -> None:
        assert self._ref is not None
        try:
            callback = self._look_up(self._ref)
        except (AttributeError, KeyError) as error:
            raise LookupError(f"there is no such function on the hub ({error})") from None
        plugin, pattern = self._where(failure)
        data = {
            "exception": failure.exception,
            "plugin": plugin,
            "profile": failure.event.profile,
            "body": failure.event.body,
            "context": {  # never the profile's data: it holds secrets
                "destination": failure.destination,
                "pattern": pattern,
                "routing_key": failure.event.routing_key,
                "id": failure.event.id,
                "attempts": failure.attempts,
                "final": failure.final,
            },
        }
        quietly.set(True)
        if inspect.iscoroutinefunction(getattr(callback, "func", callback)):
            await callback(data)
        else:
            result = await asyncio.to_thread(_called, callback, data)
            if inspect.isawaitable(result):
                await result


def _called(callback: Callable[[Any], Any], data: Any) -> Any:
    try:
        return callback(data)
    except StopIteration as error:  # no future can hand it to its awaiter
        raise RuntimeError("it raised StopIteration") from error
