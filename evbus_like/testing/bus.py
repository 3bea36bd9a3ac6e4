"""A bus in memory with an application's handlers and services, for the application's own tests."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from evbus_like.engine.errors import HandlerError, NotSeen
from evbus_like.engine.receipt import Receipt
from evbus_like.engine.receiving.group import Group
from evbus_like.engine.receiving.handler import Handler
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.hub import call_handler, call_method, recorder
from evbus_like.hub.application import binding, responses, services
from evbus_like.hub.application.responses import Marked
from evbus_like.hub.call_handler import Outcome
from evbus_like.hub.call_method import Reply
from evbus_like.hub.recorder import Sent

T = TypeVar("T")
TIMEOUT = 10.0  # seconds that a wait may take, unless another number is given
FORGOTTEN = 10_000  # outcomes of one handler that nobody asked for; older ones go


class Bus:
    """What a test sees of the bus: `hub`, what was put (`sent`), and what came of every call of a handler."""

    def __init__(self, hub: Any, chosen: list[Handler], of_answers: list[Marked], served: Mapping[str, Any]) -> None:
        self.hub = hub
        self._of_events = chosen
        self._of_answers = of_answers
        self._chosen = [*chosen, *(each.handler for each in of_answers)]
        self._served = served
        self._tap = recorder.Recorder(hub)
        self._outcomes: dict[str, deque[Outcome]] = {name_of(each): deque(maxlen=FORGOTTEN) for each in self._chosen}
        self._news = asyncio.Event()
        self._group = Group()
        self._serving = Group()
        self._made_up: list[Group] = []

    # ---- what the test does

    async def dispatch(
        self, service: str, event_type: str, body: Any = None, profile: str = "default", **more: Any
    ) -> Receipt:
        """Put an event of a service, as that service would; `more` goes to `dispatch`."""
        receipt: Receipt = await self.hub.evbus.broker.dispatch(service, event_type, body, profile, **more)
        return receipt

    async def call(
        self,
        handler: Any,
        body: Any = None,
        headers: Mapping[str, Any] | None = None,
        routing_key: str | None = None,
        **more: Any,
    ) -> Outcome:
        """Call one handler by itself, and raise what it raised; gives the event, the verdict, and what it put.

        `handler` is the function on the hub, or "service.name". It need not be among those that run. The body goes
        through JSON, as on its way through a broker; bytes stay as they are. `more` are other fields of the event: id,
        service, attempt, redelivered, timestamp, content_type. Raises HandlerError where there is no such handler.
        """
        found = call_handler.named(self.hub, handler, routing_key)
        event = call_handler.event_for(self.hub, found, body, headers, routing_key, **more)
        outcome = await call_handler.call(self.hub, call_handler.in_memory(found), event, self._tap)
        if outcome.error is not None:
            raise outcome.error
        return outcome

    async def request(
        self, method: Any, /, *args: Any, _headers: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Reply:
        """Call one method of a service by itself, and raise what it raised; gives its `result` and what it put, `sent`.

        `method` is the function on the hub, or "service.method". It need not be among those that run. Arguments and
        result go through JSON, as on their way through a broker. Where the method hands the request on, `transfer` says
        where to, and nothing is called there. `_headers` are those of the request. Raises HandlerError where there is
        no such method, and RpcErrors: IncorrectSignature, UnserializableValue.
        """
        found = call_method.named(self.hub, method)
        return await call_method.request(self.hub, found, args, kwargs, _headers or {}, self._tap)

    async def serve(self, service: str, /, **methods: Callable[..., Any]) -> None:
        """Serve a service that the test makes up, for what the application calls elsewhere, until the test ends.

        The functions take the method's arguments, and no hub; sync or async. Raises HandlerError where the application
        serves it here itself.
        """
        if service in self._served:
            raise HandlerError(f"the application serves {service!r} itself: leave it out, skip={service!r}")
        self._made_up.append(await call_method.serve(self.hub, service, methods, TIMEOUT))

    def clear(self) -> None:
        """Forget what was put and handled so far."""
        self._tap.clear()
        for outcomes in self._outcomes.values():
            outcomes.clear()

    # ---- what the test looks at

    @property
    def sent(self) -> list[Sent]:
        """All events that were put, to whatever profile, by the application, its handlers and the test, in order."""
        return self._tap.sent

    def find(self, routing_key: str = "#", service: str | None = None, profile: str | None = None) -> list[Sent]:
        """Give those that were put with a routing key, or a pattern of words between dots, a service and a profile."""
        return list(recorder.filtered(self.sent, routing_key, service, profile))

    async def was_put(
        self,
        routing_key: str = "#",
        service: str | None = None,
        profile: str | None = None,
        count: int = 1,
        timeout: float = TIMEOUT,
    ) -> list[Sent]:
        """Wait until `count` such events were put, from the beginning or the last `clear`, and give them.

        Raises NotSeen after `timeout` seconds.
        """

        def enough() -> list[Sent] | None:
            found = self.find(routing_key, service, profile)
            return found if len(found) >= count else None

        def nothing() -> str:
            wanted = {"routing_key": routing_key, "service": service, "profile": profile}
            shows = ", ".join(f"{name}={value!r}" for name, value in wanted.items() if value not in (None, "#"))
            put = ", ".join(f"{each.service}.{each.routing_key}".strip(".") for each in self.sent[-20:])
            return f"{count} events put with {shows or 'any routing key'}; what was put: {put or 'nothing'}"

        return await self._until(enough, self._tap.changed, nothing, timeout)

    async def outcome(self, handler: Any, timeout: float = TIMEOUT) -> Outcome:
        """Give what came of the next call of a handler, one after another from the first; none raises.

        Calls that ended before are given, too. Raises NotSeen after `timeout` seconds, HandlerError for an unknown one.
        """
        name = self._running(handler)
        outcomes = self._outcomes[name]

        async def news() -> None:
            self._news.clear()
            await self._news.wait()

        return await self._until(
            lambda: outcomes.popleft() if outcomes else None, news, lambda: self._not_handled(name), timeout
        )

    async def handled(self, handler: Any, timeout: float = TIMEOUT) -> ReceivedEvent:
        """Wait until a handler has run, give its event, and raise what it raised; otherwise as `outcome`."""
        outcome = await self.outcome(handler, timeout)
        if outcome.error is not None:
            raise outcome.error
        return outcome.event

    # ---- inside

    async def _until(
        self,
        look: Callable[[], T | None],
        news: Callable[[], Awaitable[None]],
        missing: Callable[[], str],
        timeout: float,
    ) -> T:
        try:
            async with asyncio.timeout(timeout):
                while (found := look()) is None:
                    await news()
                return found
        except TimeoutError:
            raise NotSeen(f"not seen within {timeout:g} s: {missing()}") from None

    def _running(self, handler: Any) -> str:
        name = name_of(call_handler.named(self.hub, handler))
        if name not in self._outcomes:
            raise HandlerError(f"{name} does not run here: only {', '.join(self._outcomes)} runs")
        return name

    def _not_handled(self, name: str) -> str:
        """Say why a handler may not have run."""
        facts = [each for each in self._group.status().values() if each["handler"] == name]
        busy = sum(each.busy for each in self._group.consumers if name_of(each.invoker.handler) == name)
        wants = {
            f"{each.options.source}: {', '.join(each.options.event_types)}"
            for each in self._chosen
            if name_of(each) == name
        }
        received = sum(each["received"] for each in facts)
        put = ", ".join(f"{each.service}.{each.routing_key}" for each in self.sent[-20:] if each.service)
        doing = "it is still at work" if busy else f"it received {received} events, and its outcomes were given before"
        if not received:
            doing = f"it wants events of {'; '.join(wants)}; events of services that were put: {put or 'none'}"
        return f"a call of {name}; {doing}"

    def _note(self, outcome: Outcome) -> None:
        self._outcomes[outcome.handler].append(outcome)
        self._news.set()

    async def start(self) -> None:
        """Let the handlers receive, and the services be called."""
        chosen = [call_handler.in_memory(each) for each in self._of_events]
        made = await binding.consumers(self.hub, recorder.PROFILES, chosen, self._group)
        waiting = responses.consumers(self.hub, self._of_answers, self._group)
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
        """End the handlers and the bus."""
        if self.hub.evbus.STARTED:
            await self.hub.evbus.init.stop(timeout)
        await asyncio.gather(*(each.stop(timeout) for each in (self._group, self._serving, *self._made_up)))
        await self._tap.close()


def name_of(handler: Handler) -> str:
    """Give a handler's name, as tests call it."""
    return f"{handler.service}.{handler.name}"
