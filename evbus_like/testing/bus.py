"""The bus of a test: events are put and looked at, handlers and methods are called."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from time import time
from typing import Any, TypeVar

from evbus_like.engine.errors import HandlerError, NotSeen
from evbus_like.engine.receipt import Receipt
from evbus_like.engine.receiving.group import Group
from evbus_like.engine.receiving.handler import Handler
from evbus_like.engine.receiving.inbox import InboxInvoker
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.hub import call_handler, call_method, recorder
from evbus_like.hub.application import binding, responses, rpc_proxy, services
from evbus_like.hub.application.responses import Marked
from evbus_like.hub.call_handler import Outcome
from evbus_like.hub.call_method import Reply
from evbus_like.hub.recorder import Sent
from evbus_like.testing.crashes import CrashReport, CrashTest

T = TypeVar("T")
TIMEOUT = 10.0  # seconds; the default of every wait
KEPT = 10_000  # outcomes of one handler that no test has asked for; older ones are dropped


class Bus:
    """The bus of a test: `hub`, the events that were put (`sent`), and the outcome of every call of a handler."""

    def __init__(
        self,
        hub: Any,
        chosen: list[Handler],
        of_answers: list[Marked],
        served: Mapping[str, Any],
        profiles: Mapping[str, Any],
    ) -> None:
        self.hub = hub
        self._profiles = profiles
        self._of_events = chosen
        self._of_answers = of_answers
        self._chosen = [*chosen, *(each.handler for each in of_answers)]
        self._served = served
        self._recorder = recorder.Recorder(hub)
        self._outcomes: dict[str, deque[Outcome]] = {name_of(each): deque(maxlen=KEPT) for each in self._chosen}
        self._changed = asyncio.Event()
        self._group = Group()
        self._serving = Group()
        self._stubs: list[Group] = []

    # ---- actions

    async def dispatch(
        self, service: str, event_type: str, body: Any = None, profile: str = "default", **more: Any
    ) -> Receipt:
        """Put an event of a service, as that service does; `more` goes to `dispatch`."""
        receipt: Receipt = await self.hub.evbus.broker.dispatch(service, event_type, body, profile, **more)
        return receipt

    async def pass_time(self, seconds: float) -> int:
        """Send at once what was put with `delay` or `at` and is due within so many seconds, and return how many events.

        Such events wait in the outbox: name its file with EVBUS_OUTBOX before the bus starts.
        """
        bus, count, moment = self.hub.evbus.RUNTIME.bus, 0, time() + seconds
        if bus.outbox is None:  # then nothing can have been put for later
            return 0
        scheduler = bus.begin_scheduler()
        while some := await scheduler.send_until(moment):
            count += some
        return count

    async def call(
        self,
        handler: Any,
        body: Any = None,
        headers: Mapping[str, Any] | None = None,
        routing_key: str | None = None,
        **more: Any,
    ) -> Outcome:
        """Call one handler directly, raise what it raises, and return the outcome: event, disposition, what it put.

        `handler` is the function on the hub, or "service.name"; it need not be among the running ones. The body is
        converted to JSON and back, as by a broker; bytes stay unchanged. `more` are other fields of the event: id,
        service, attempt, redelivered, timestamp, content_type, and transaction, the connection of a handler with
        `inbox=`, which the test commits or rolls back. Raises HandlerError for an unknown handler.
        """
        found = call_handler.named(self.hub, handler, routing_key)
        event = call_handler.event_for(self.hub, found, body, headers, routing_key, **more)
        outcome = await call_handler.call(self.hub, call_handler.in_memory(found), event, self._recorder)
        if outcome.error is not None:
            raise outcome.error
        return outcome

    async def crashes(
        self,
        handler: Any,
        body: Any = None,
        headers: Mapping[str, Any] | None = None,
        routing_key: str | None = None,
        *,
        check: Callable[[], Any],
        reset: Callable[[], Any] | None = None,
        restart: Callable[[], Any] | None = None,
        stored: bool = False,
        most: int = 1000,
        timeout: float = TIMEOUT,
        **more: Any,
    ) -> CrashReport:
        """Kill one handler at each of its points, deliver its event again each time, and return the points.

        It is killed before and after every await, put and SQL statement that it reaches, in its own code and in that
        of the application below it, and none of its `except` and `finally` run. Then the same event is handled to the
        end, `redelivered`, and `check` is called: it raises, or returns False, if something was repeated that must not
        be, or is missing. The first such point raises CrashError, with its line.

        `reset` sets the application's state back before each run; `restart` does what a new process would, after each
        kill: it rolls back and closes the application's own connections. All three may be async. `bus.sent` has
        what the two deliveries put. Events that the handler had put before the kill are delivered in one run, and lost
        in a second, except those put with confirm="delivered"; `stored` says that the profiles have `outbox: always`,
        so that an event is safe when `await put` returns. At most `most` points are tried; each delivery has `timeout`
        seconds. The event is that of `call`. Raises HandlerError, and what the handler raises when nothing is killed.
        """
        found = call_handler.named(self.hub, handler, routing_key)
        consumers = [each.invoker for each in self._group.consumers if name_of(each.invoker.handler) == name_of(found)]
        caller: Any = next((each for each in consumers if isinstance(each, InboxInvoker)), None)
        if found.options.inbox and caller is None:
            raise HandlerError(
                f"{name_of(found)} has inbox={found.options.inbox!r}, whose marks are in a database, so the crash test"
                " needs a real one and the handler running: handling(postgres={NAME: {'connection': URL}}), or"
                " @pytest.mark.evbus(postgres=...)"
            )
        chosen = call_handler.in_memory(found, caller is not None)

        def event() -> ReceivedEvent:
            return call_handler.event_for(self.hub, chosen, body, headers, routing_key, **more)

        test = CrashTest(
            *(self.hub, chosen, caller, self._recorder, self.clear, event, check, reset, restart, stored, timeout)
        )
        return await test.run(most)

    async def request(
        self, method: Any, /, *args: Any, _headers: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Reply:
        """Call one method of a service directly, raise what it raises, and return its `result` and what it `sent`.

        `method` is the function on the hub, or "service.method"; it need not be among the running ones. Arguments and
        result are converted to JSON and back, as by a broker. If the method transfers the request, `transfer` says
        where to, and nothing is called there. `_headers` are those of the request. Raises HandlerError for an unknown
        method, and RpcErrors: IncorrectSignature, UnserializableValue.
        """
        found = call_method.named(self.hub, method)
        return await call_method.request(self.hub, found, args, kwargs, _headers or {}, self._recorder)

    async def serve(self, service: str, /, **methods: Callable[..., Any]) -> None:
        """Serve a stub of a service that the application calls, until the test ends.

        The functions, sync or async, take the method's arguments without a hub. Raises HandlerError if the application
        serves it itself.
        """
        if service in self._served:
            raise HandlerError(f"the application serves {service!r} itself; leave it out with skip={service!r}")
        self._stubs.append(await call_method.serve(self.hub, service, methods, TIMEOUT))

    def clear(self) -> None:
        """Forget the events that were put and handled so far."""
        self._recorder.clear()
        for outcomes in self._outcomes.values():
            outcomes.clear()

    # ---- observations

    @property
    def sent(self) -> list[Sent]:
        """All events that the application, its handlers and the test put, to any profile, in order."""
        return self._recorder.sent

    def find(self, routing_key: str = "#", service: str | None = None, profile: str | None = None) -> list[Sent]:
        """Return the events put with a routing key, or a pattern of words between dots, a service and a profile."""
        return list(recorder.filtered(self.sent, routing_key, service, profile))

    async def was_put(
        self,
        routing_key: str = "#",
        service: str | None = None,
        profile: str | None = None,
        count: int = 1,
        timeout: float = TIMEOUT,
    ) -> list[Sent]:
        """Wait until `count` such events were put since the start or the last `clear`, and return them.

        Raises NotSeen after `timeout` seconds.
        """

        def enough() -> list[Sent] | None:
            found = self.find(routing_key, service, profile)
            return found if len(found) >= count else None

        def nothing() -> str:
            wanted = {"routing_key": routing_key, "service": service, "profile": profile}
            shows = ", ".join(f"{name}={value!r}" for name, value in wanted.items() if value not in (None, "#"))
            put = ", ".join(f"{each.service}.{each.routing_key}".strip(".") for each in self.sent[-20:])
            return f"{count} events put with {shows or 'any routing key'}; events that were put: {put or 'none'}"

        return await self._until(enough, self._recorder.changed, nothing, timeout)

    async def outcome(self, handler: Any, timeout: float = TIMEOUT) -> Outcome:
        """Return the outcome of the next call of a handler, in order from the first one; does not raise its error.

        Also returns calls that ended before. Raises NotSeen after `timeout` seconds, HandlerError for an unknown
        handler.
        """
        name = self._running(handler)
        outcomes = self._outcomes[name]

        async def changed() -> None:
            self._changed.clear()
            await self._changed.wait()

        return await self._until(
            lambda: outcomes.popleft() if outcomes else None, changed, lambda: self._why_not_handled(name), timeout
        )

    async def handled(self, handler: Any, timeout: float = TIMEOUT) -> ReceivedEvent:
        """Wait for the next call of a handler, return its event, and raise what it raised; otherwise as `outcome`."""
        outcome = await self.outcome(handler, timeout)
        if outcome.error is not None:
            raise outcome.error
        return outcome.event

    # ---- internals

    async def _until(
        self,
        look: Callable[[], T | None],
        changed: Callable[[], Awaitable[None]],
        missing: Callable[[], str],
        timeout: float,
    ) -> T:
        try:
            async with asyncio.timeout(timeout):
                while (found := look()) is None:
                    await changed()
                return found
        except TimeoutError:
            raise NotSeen(f"not seen within {timeout:g} s: {missing()}") from None

    def _running(self, handler: Any) -> str:
        name = name_of(call_handler.named(self.hub, handler))
        if name not in self._outcomes:
            raise HandlerError(f"{name} does not run in this test; running: {', '.join(self._outcomes)}")
        return name

    def _why_not_handled(self, name: str) -> str:
        """Return a sentence that says why a handler may not have run."""
        facts = [each for each in self._group.status().values() if each["handler"] == name]
        busy = sum(each.busy for each in self._group.consumers if name_of(each.invoker.handler) == name)
        wants = {
            f"{each.options.source}: {', '.join(each.options.event_types)}"
            for each in self._chosen
            if name_of(each) == name
        }
        received = sum(each["received"] for each in facts)
        put = ", ".join(f"{each.service}.{each.routing_key}" for each in self.sent[-20:] if each.service)
        doing = "it still runs" if busy else f"it received {received} events, whose outcomes were returned before"
        if not received:
            doing = f"it wants events of {'; '.join(wants)}; events of services that were put: {put or 'none'}"
        return f"a call of {name}; {doing}"

    def _note(self, outcome: Outcome) -> None:
        self._outcomes[outcome.handler].append(outcome)
        self._changed.set()

    async def start(self) -> None:
        """Start the handlers and the services."""
        chosen = [call_handler.in_memory(each, "postgres" in self._profiles) for each in self._of_events]
        made = await binding.consumers(self.hub, self._profiles, chosen, self._group)
        waiting = responses.consumers(self.hub, self._of_answers, self._group, rpc_proxy.calls(self.hub).way)
        for consumer in (*made, *waiting):
            invoker: Any = consumer.invoker
            for each in getattr(invoker, "invokers", (invoker,)):
                call_handler.watch_calls(each, self._note)
        self._group.start([*made, *waiting])
        self.hub.evbus.RUNTIME.handlers = self._group
        self._serving.start(services.consumers(self.hub, recorder.PROFILES, self._served, self._serving))
        self.hub.evbus.RUNTIME.services = self._serving
        for group in (self._group, self._serving):
            await group.subscribed(TIMEOUT)

    async def stop(self, timeout: float) -> None:
        """Stop the bus, the handlers and the services."""
        if self.hub.evbus.STARTED:
            await self.hub.evbus.init.stop(timeout)
        await asyncio.gather(*(each.stop(timeout) for each in (self._group, self._serving, *self._stubs)))
        await self._recorder.close()


def name_of(handler: Handler) -> str:
    """Return the name of a handler as tests write it."""
    return f"{handler.service}.{handler.name}"
