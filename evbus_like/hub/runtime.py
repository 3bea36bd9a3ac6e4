"""The state that one hub keeps, `hub.evbus.RUNTIME`, and the Protocol of a hub that has it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from evbus_like.engine.bus import Bus
from evbus_like.engine.lifespan import Lifespan
from evbus_like.engine.put import Putter
from evbus_like.engine.queue import Queue
from evbus_like.hub.reporter import Reporter

if TYPE_CHECKING:  # a program that only puts events does not import these
    from evbus_like.engine.event import Event
    from evbus_like.engine.middleware import Middleware
    from evbus_like.engine.receiving.deaths import Deaths
    from evbus_like.engine.receiving.group import Group
    from evbus_like.engine.rpc.client import Client
    from evbus_like.engine.shared_rate import Grant

Contexts = Mapping[str, Any]  # {provider: {profile: data}} or {provider: [{profile: data}, ...]}, and match_plugin


class DeclaredEvents(Protocol):
    """The events that the application declares; hub/application/events.py makes them."""

    @property
    def events(self) -> Mapping[tuple[str, str], Any]:
        """The events by service and name."""

    def must_be_sound(self) -> None:
        """Raise DeclarationError if a declaration is wrong."""


class RpcClients(Protocol):
    """The clients of called services; hub/application/rpc_clients.py makes them."""

    only: str  # the profile of all calls in tests in memory, else empty

    def begin(self) -> None:
        """Prepare for a bus that starts."""

    @property
    def clients(self) -> Sequence[Client]:
        """The clients that were used."""

    def forget_sources(self) -> None:
        """Look services up again: the profiles have changed."""

    async def close(self) -> None:
        """End the calls under way."""

    def status(self) -> dict[str, Any]:
        """Return the counts of each client as plain data."""


class Databases(Protocol):
    """The application's databases in which events are stored; hub/postgres.py makes them."""

    def stop_reading(self) -> None:
        """Take no more events from the tables."""

    async def close(self) -> None:
        """Delete what was delivered, and disconnect."""

    def status(self) -> dict[str, Any]:
        """Return the state of each relay as plain data."""


class Rates(Protocol):
    """The database through which machines share rates; hub/rates.py makes it."""

    async def take(self, name: str, seconds: float) -> Grant | None:
        """Take places for so many seconds of a rate; None while the database does not answer."""

    async def close(self) -> None:
        """Disconnect."""

    def status(self) -> dict[str, Any]:
        """Return where rates are shared, by how many runs, and what is wrong, as plain data."""


class Monitor(Protocol):
    """What shows the bus; hub/monitoring.py makes it."""

    async def close_port(self) -> None:
        """Close the HTTP port, if it is open."""

    async def close(self) -> None:
        """Close whatever is open."""


@dataclass(repr=False)  # contexts hold secrets
class Runtime:
    """Everything that a hub's bus consists of; made by `hub.evbus.init.__init__`."""

    bus: Bus
    putter: Putter
    reporter: Reporter
    broken: dict[str, dict[str, str]] = field(default_factory=dict)  # {dyne: {plugin: why it could not be loaded}}
    starting: bool = False  # `hub.evbus.init.start` is opening the outbox

    # What the operator wrote.
    settings_file: tuple[str, frozenset[str]] | None = None  # of the command: the --config file, and its names
    contexts: Contexts | None = None  # what the bus was started with, or those of the last reload
    pipes: dict[tuple[int, int], bytes] = field(
        default_factory=dict
    )  # what credentials files held that can be read once
    read_contexts: Callable[[], Awaitable[dict[str, Any]]] | None = None  # reads the credentials file again
    match_plugin: Any = None  # the match plugin in the contexts, which no file holds

    # What the application brings; all but the events is None until it is used.
    events: DeclaredEvents = field(init=False)
    middleware: Middleware | None = None
    lifespan: Lifespan = field(default_factory=lambda: Lifespan(()))
    handlers: Group | None = None
    services: Group | None = None
    rpc_clients: RpcClients | None = None

    rates: Rates | None = None  # which machines share through a database, if there is one
    databases: Databases | None = None  # of profiles of the provider postgres, while the bus runs
    connects: dict[str, Callable[[], Any]] = field(default_factory=dict)  # the application's, by postgres profile
    monitor: Monitor | None = None  # shows the bus, once something has asked for that
    deaths: Deaths | None = None  # of the command `run`: which events ended a worker
    outbox_lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while the outbox may be opened
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)  # reloads, and openings of the outbox

    def begin(self, contexts: Contexts | None) -> None:
        """Prepare for a run of the bus, perhaps in another event loop than the last one."""
        self.contexts = contexts
        self.match_plugin = (contexts or {}).get("match_plugin")
        self.outbox_lock = asyncio.Lock()
        self.tasks = set()

    def create_task(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Create a task that `close` waits for."""
        task = asyncio.create_task(coroutine, name=f"evbus_like {name}")
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def close(self, timeout: float) -> None:
        """Give the tasks `timeout` seconds to notice that the bus is stopped, then cancel them."""
        tasks = set(self.tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=timeout)


class Evbus(Protocol):
    """`hub.evbus`. BUS, SERIAL_PLUGIN and STARTED have the names that pop-evbus gave them."""

    RUNTIME: Runtime
    BUS: Queue[Event]
    SERIAL_PLUGIN: str
    STARTED: bool
    acct: Any
    broker: Any
    events: Any
    handlers: Any
    http: Any
    init: Any
    rpc: Any


class Hub(Protocol):
    """A pop hub with `hub.evbus` on it; what plugins and applications add is Any."""

    evbus: Evbus
    acct: Any
    crypto: Any
    egress: Any
    event: Any
    handler: Any
    lifespan: Any
    ingress: Any
    log: Any
    match: Any
    middleware: Any
    pop: Any
    rend: Any
    rpc: Any
    serialize: Any
    service: Any
    OPT: Any
    _subs: Any

    def __getitem__(self, reference: str) -> Any:
        """Return what a dotted reference names; raises AttributeError or KeyError."""


def bind_puts(hub: Hub) -> None:
    """Bind the ways to put directly to the engine, unless an application wrapped a contract around them.

    The hub's wrapper would take 4 of the 7 microseconds of a call with keywords.
    """
    broker, putter = hub.evbus.broker, hub.evbus.RUNTIME.putter
    functions = broker._funcs
    for put, dispatch in (("put", "dispatch"), ("put_nowait", "dispatch_nowait")):
        if not functions[put]._has_contracts:
            setattr(broker, put, getattr(putter, put))
            if not functions[dispatch]._has_contracts:
                setattr(broker, dispatch, getattr(putter, dispatch))
