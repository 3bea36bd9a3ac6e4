"""The bus in a thread of its own, for programs without an event loop."""

from __future__ import annotations

import asyncio
import inspect
import threading
from concurrent.futures import CancelledError, Future
from typing import Any

from evbus_like.engine.account import Account
from evbus_like.engine.errors import BadEvent, LifecycleError
from evbus_like.engine.receipt import Receipt
from evbus_like.engine.waiting import in_event_loop, wrong_timeout
from evbus_like.hub.application import events
from evbus_like.hub.profiles import settings
from evbus_like.hub.runtime import Hub

START_TIMEOUT = 30.0  # seconds to read the credentials and open the outbox
GRACE = 10.0  # seconds beyond the deadline of the stop, for the thread to end


class Background:
    """A context manager: the bus runs in the block and stops at its end, which sets `account`.

    `contexts` is what `start` takes, or a coroutine that returns it, such as `hub.evbus.acct.profiles(...)`.
    """

    def __init__(self, hub: Hub, contexts: Any, timeout: float | None) -> None:
        self._hub = hub
        self._contexts = contexts
        if timeout is not None:
            try:
                settings.checked_timeout(timeout)
            except ValueError:
                self._close_contexts()
                raise
        self._timeout = timeout
        self._thread = threading.Thread(target=self._run, name="evbus_like", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main_task: asyncio.Task[None] | None = None
        self._started: Future[None] = Future()
        self.account: Account | None = None

    def __enter__(self) -> Background:
        if in_event_loop():
            self._close_contexts()
            raise LifecycleError(
                "background is for programs without an event loop, and one runs here: use `start` as a task and `join`"
            )
        if self._thread.ident is not None:
            raise LifecycleError("a background can be entered once; call hub.evbus.init.background again")
        self._thread.start()
        try:
            self._started.result(START_TIMEOUT)
        except TimeoutError:
            if self._loop is not None and self._main_task is not None:
                self._loop.call_soon_threadsafe(self._main_task.cancel)  # it may still start, and nothing would stop it
            raise LifecycleError(f"the bus did not start within {START_TIMEOUT:g} s") from None
        return self

    def __exit__(self, *_: object) -> None:
        timeout = settings.stop_timeout(self._hub, self._timeout)
        if self._thread.is_alive():
            self.account = events.wait(self._hub.evbus.init.stop(timeout), self._loop, timeout + GRACE)
        else:
            self.account = self._hub.evbus.init.account()
        self._thread.join(timeout + GRACE)

    def put(self, /, *args: Any, **named: Any) -> Receipt:
        """Put an event as `hub.evbus.broker.put` does, and block until it is accepted."""
        return self._wait(self._hub.evbus.broker.put, args, named)

    def dispatch(self, /, *args: Any, **named: Any) -> Receipt:
        """Put an event of a service as `hub.evbus.broker.dispatch` does, and block until it is accepted."""
        return self._wait(self._hub.evbus.broker.dispatch, args, named)

    def _wait(self, function: Any, args: Any, named: Any) -> Receipt:
        if in_event_loop():
            raise LifecycleError("this put waits, and would stop the event loop: use `await hub.evbus.broker.put(...)`")
        if named.get("within") is not None:
            raise BadEvent("within needs no waiting here: hub.evbus.broker.put_nowait(..., within=...)")
        if (bus := self._hub.evbus.RUNTIME.bus).forked:  # its loop does not run in this process
            raise bus.refusal("")
        timeout = named.get("timeout")
        if timeout is not None and (wrong := wrong_timeout(timeout)):
            raise BadEvent(wrong)
        timeout = self._hub.evbus.RUNTIME.putter.timeout if timeout is None else timeout
        receipt: Receipt = events.wait(function(*args, **named), self._loop, timeout)
        return receipt

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            if not self._started.done():
                self._started.set_exception(error if isinstance(error, Exception) else CancelledError())

    async def _main(self) -> None:
        self._loop, self._main_task = asyncio.get_running_loop(), asyncio.current_task()
        contexts = await self._contexts if inspect.isawaitable(self._contexts) else self._contexts
        listener = asyncio.create_task(self._hub.evbus.init.start(contexts))
        try:
            await self._hub.evbus.init.join(START_TIMEOUT)
        finally:
            if not self._hub.evbus.STARTED:
                await asyncio.wait([listener], timeout=GRACE)
        self._started.set_result(None)
        await listener

    def _close_contexts(self) -> None:
        if inspect.iscoroutine(self._contexts):
            self._contexts.close()
