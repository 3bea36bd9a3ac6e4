"""The crash test of a handler: it is killed at one point after another, and its event is delivered again."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType
from typing import Any

from evbus_like.engine.errors import CrashError, HandlerError, HandlerFailed
from evbus_like.engine.handling import BatchHandling, Handling, current
from evbus_like.engine.receiving.batch_invoker import BatchInvoker
from evbus_like.engine.receiving.disposition import DONE, REPEAT, UNWANTED
from evbus_like.engine.receiving.handler import Handler
from evbus_like.engine.receiving.inbox import InboxInvoker
from evbus_like.engine.receiving.invoker import HandlerInvoker
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.hub import decoding
from evbus_like.hub.application import handlers, responses
from evbus_like.hub.recorder import Recorder, Sent
from evbus_like.testing import crash_points
from evbus_like.testing.crash_points import END, SQL, Killed, Moment, Place, Run

Function = Callable[[], Any]
LOST = "; what it had put was lost with the memory of the process"


@dataclass(frozen=True)
class CrashPoint:
    """A moment at which the handler was killed: before or after (`after`) an await, a put or an SQL statement.

    `kind` is "await", "put", "SQL", or "end" when the handler had returned and its event was not acknowledged yet.
    With `puts_lost`, what the handler had put and was not safe was lost with it.
    """

    file: str
    line: int
    function: str
    source: str
    kind: str
    after: bool
    puts_lost: bool

    def __str__(self) -> str:
        if self.kind == END:
            when = self.source
        else:
            what = {"await": "await", "put": "put", SQL: "SQL statement"}[self.kind]
            when = f"{'after' if self.after else 'before'} the {what} at {self.file}:{self.line}: {self.source}"
        return when + (LOST if self.puts_lost else "")


@dataclass(frozen=True)
class CrashReport:
    """The points at which a handler was killed without harm. `untried` is how many there were beyond `most`."""

    handler: str
    points: tuple[CrashPoint, ...]
    untried: int = 0

    def __str__(self) -> str:
        rest = f", and {self.untried} were not tried" if self.untried else ""
        lines = [f"{self.handler} was killed at {len(self.points)} points without harm{rest}:"]
        return "\n  ".join([*lines, *map(str, self.points)])


class CrashTest:
    """Kills one handler again and again; `caller` is its running invoker, of which the inbox is used."""

    def __init__(
        self,
        hub: Any,
        handler: Handler,
        caller: HandlerInvoker | None,
        recorder: Recorder,
        clear: Function,
        event: Callable[[], ReceivedEvent],
        check: Function,
        reset: Function | None,
        restart: Function | None,
        stored: bool,
        timeout: float,
    ) -> None:
        self._hub = hub
        self._handler = handler
        self._name = f"{handler.service}.{handler.name}"
        self._caller = caller
        self._recorder = recorder
        self._clear = clear
        self._event = event
        self._check = check
        self._reset = reset
        self._restart = restart
        self._stored = stored
        self._timeout = timeout
        self._safe: set[str] = set()  # ids of events that outlast a kill
        self._own = _code_of(hub, handler)

    async def run(self, most: int) -> CrashReport:
        """Return the report, or raise CrashError at the first point that does harm."""
        codes = await self._uncut()
        with crash_points.points_in(codes | {self._own}) as pointed, self._watching_puts():
            if self._own not in pointed:
                raise HandlerError(
                    f"{self._handler.ref} cannot be cut: its source, {self._own.co_filename}, cannot be read, or is not"
                    " that of the running function. Restart the tests after a change of the file"
                )
            moments = await self._counted()
            points: list[CrashPoint] = []
            for number, moment in enumerate(moments[:most], start=1):
                points += [each async for each in self._killed(number, moment)]
            if self._has_inbox and len(moments) <= most:
                points.append(await self._repeated())
        return CrashReport(self._name, tuple(points), max(0, len(moments) - most))

    @property
    def _has_inbox(self) -> bool:
        return isinstance(self._caller, InboxInvoker)

    # ---- the runs

    async def _uncut(self) -> set[CodeType]:
        """Handle the event without a crash: the check must hold then. Returns the code that was called."""
        await self._begin()
        run = Run()
        with crash_points.called_code():
            await self._deliver(self._event(), run)
        try:
            await self._checked()
        except Exception as error:
            raise CrashError(
                f"the check of {self._name} does not hold even when nothing crashes: {_said(error)}"
            ) from error
        return run.codes

    async def _counted(self) -> list[Moment]:
        await self._begin()
        run = Run()
        await self._deliver(self._event(), run)
        return run.moments

    async def _killed(self, number: int, moment: Moment) -> Any:
        """Kill the handler at a moment; once more, with its puts lost, if it had put events that were not safe."""
        for lost in (False, True):
            await self._begin()
            event, run = self._event(), Run(number)
            await self._deliver(event, run)
            if not run.is_dead:  # it went another way this time
                return
            point, before = self._point(run.moments[-1], lost), self._recorder.sent
            if lost:
                gone = {each.id for each in before if each.cause == event.id} - self._safe
                if not gone:
                    return
                self._recorder.forget(gone)
                before = self._recorder.sent
            await self._delivered_again(event, point, before)
            yield point

    async def _repeated(self) -> CrashPoint:
        """Kill the handler when its transaction was committed, and before its event is acknowledged."""
        await self._begin()
        event = self._event()
        await self._deliver(event, Run())
        end = Place("", 0, "", END, "after the commit of its inbox, before its event was acknowledged")
        point = self._point(Moment(end, True), False)
        await self._delivered_again(event, point, self._recorder.sent)
        return point

    async def _begin(self) -> None:
        await _awaited(self._reset)
        self._clear()
        self._safe.clear()

    async def _delivered_again(self, event: ReceivedEvent, point: CrashPoint, before: list[Sent]) -> None:
        await _awaited(self._restart)
        try:
            await self._deliver(_again(event), Run(), again=True)
            await self._checked()
        except Exception as error:
            after = self._recorder.sent[len(before) :]
            raise CrashError(
                f"{self._name} does harm if its process is killed\n"
                f"  {point}\n"
                "  and the event is delivered again.\n"
                f"  {_said(error)}\n"
                f"  put before the kill: {_shown(before)}; after it: {_shown(after)}"
            ) from error

    async def _checked(self) -> None:
        """Raise what the check says."""
        if await _awaited(self._check) is False:
            raise AssertionError("check returned False")

    # ---- one delivery

    async def _deliver(self, event: ReceivedEvent, run: Run, again: bool = False) -> None:
        """Handle an event in a run; raises what the handler raises, unless it was killed."""
        failures: list[BaseException] = []
        caller = self._invoker(event, run, failures)
        task = asyncio.create_task(caller.call(event), name=f"evbus_like crash test {self._handler.ref}")
        try:
            done, _ = await asyncio.wait([task], timeout=self._timeout)
            if not done:
                when = " when its event came again" if again else ""
                raise HandlerFailed(
                    f"the handler was not done within {self._timeout:g} s{when}:"
                    " does it wait for a lock or a transaction that the killed one has left? restart= frees such things"
                )
            disposition = task.result()
        finally:
            caller.closing = True
            task.cancel()
            await asyncio.wait([task], timeout=1.0)
            caller.close()
        if run.is_dead or disposition is DONE or (again and disposition is REPEAT):
            return
        if failures:
            raise failures[-1]
        if disposition is UNWANTED:
            raise HandlerFailed(f"the where= of {self._name} does not want the event")
        raise HandlerFailed(disposition.reason or f"the event was not handled: {disposition.kind}")

    def _invoker(self, event: ReceivedEvent, run: Run, failures: list[BaseException]) -> HandlerInvoker:
        handler = replace(self._handler, call=_within(run, self._handler, failures))
        options = handler.options
        decode = decoding.decoder(self._hub, options.accept, options.default_format, declared=handler.declared)
        kind: Any = _CutInbox if self._has_inbox else _CutBatch if options.batch else _Cut
        caller: HandlerInvoker = kind(handler, decode, self._hub.evbus.RUNTIME.bus, max(len(event.raw), 1))
        if isinstance(caller, InboxInvoker):
            assert isinstance(self._caller, InboxInvoker)
            caller.inbox, caller.listener = self._caller.inbox, self._caller.listener
        return caller

    @contextmanager
    def _watching_puts(self) -> Iterator[None]:
        """Note which events the handler puts that are stored or delivered when `put` returns."""
        putter = self._hub.evbus.RUNTIME.putter
        wait = putter._wait

        async def noted(event: Any, receipt: Any, confirm: str, *more: Any) -> Any:
            await wait(event, receipt, confirm, *more)
            if current() is not None and (self._stored or confirm == "delivered"):
                self._safe.add(event.id)
            return receipt

        putter._wait = noted
        try:
            yield
        finally:
            del putter._wait

    def _point(self, moment: Moment, lost: bool) -> CrashPoint:
        place = moment.place
        file = place.file
        if file and Path(file).is_relative_to(Path.cwd()):
            file = str(Path(file).relative_to(Path.cwd()))
        return CrashPoint(file, place.line, place.function, place.source, place.kind, moment.after, lost)


RETURNED = Place("", 0, "", END, "after it had returned, before its event was acknowledged")


def _within(run: Run, handler: Handler, failures: list[BaseException]) -> Callable[[Any], Any]:
    """Return the handler's function, called in a run."""

    async def call_async(events: Any) -> Any:
        with _ending(run, failures):
            result = await handler.call(events)
            run.reach(RETURNED, after=True)
            return result

    def call_sync(events: Any) -> Any:
        with _ending(run, failures):
            result = handler.call(events)
            run.reach(RETURNED, after=True)
            return result

    return call_async if handler.is_async else call_sync


@contextmanager
def _ending(run: Run, failures: list[BaseException]) -> Iterator[None]:
    token = crash_points.running.set(run)
    try:
        yield
    except BaseException as error:
        if run.is_dead:  # whatever its code has made of it
            raise Killed from None
        failures.append(error)
        raise
    finally:
        crash_points.running.reset(token)


class _Cut(HandlerInvoker):
    def _failed(self, event: ReceivedEvent, error: BaseException, current: Handling) -> Any:
        if isinstance(error, Killed):
            return [None] if isinstance(current, BatchHandling) else DONE
        return super()._failed(event, error, current)


class _CutInbox(_Cut, InboxInvoker):
    pass


class _CutBatch(_Cut, BatchInvoker):
    pass


def _again(event: ReceivedEvent) -> ReceivedEvent:
    """Return an event as a source delivers it again after a worker was killed."""
    fields = ("routing_key", "service", "id", "headers", "content_type", "timestamp", "attempt", "order", "token")
    more = ("reply_to", "correlation_id", "content_encoding", "key")
    made = ReceivedEvent(event.raw, **{name: getattr(event, name) for name in (*fields, *more)}, redelivered=True)
    made.may_repeat = event.may_repeat
    return made


def _code_of(hub: Any, handler: Handler) -> CodeType:
    """Return the code of a handler's function, below its decorators."""
    marked: list[Any] = [*handlers.marked(hub), *responses.marked(hub)]
    for ref, _, function, *_ in marked:
        if ref == handler.ref:
            code = getattr(inspect.unwrap(function.func), "__code__", None)
            if isinstance(code, CodeType):
                return code
    raise HandlerError(f"{handler.ref} cannot be cut: it is no function of Python")


async def _awaited(function: Function | None) -> Any:
    result = None if function is None else function()
    return await result if inspect.isawaitable(result) else result


def _said(error: BaseException) -> str:
    text = str(error).strip()
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def _shown(sent: Collection[Sent]) -> str:
    names = [f"{each.service}.{each.routing_key}".strip(".") for each in sent]
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "") or "nothing"
