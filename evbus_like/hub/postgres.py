"""The application's PostgreSQL databases: profiles of the provider `postgres`, their stores and their relays.

`put(..., within=connection)` writes a row of the table `evbus_outbox` in the caller's transaction, by one INSERT, and
nothing else: it is the application that commits. The bus of any process that has the profile relays: it holds leases
on some of the table's parts, reads their rows by id, hands them to the lanes as if they had been put, and deletes them
once every lane has delivered them or given them up. So the table holds what waits, and the counts of its parts the
rest: stored = delivered + dead-lettered + waiting.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from evbus_like.engine.errors import EvbusError, ProfileError
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.hub import plugins, secrets
from evbus_like.hub.profiles import plan, settings
from evbus_like.hub.runtime import Contexts, Hub

if TYPE_CHECKING:
    from evbus_like.engine.sending.serializer import Serializer
    from evbus_like.postgres.database import Database
    from evbus_like.postgres.relay import Relay

log = logging.getLogger("evbus_like.postgres")


def of_contexts(hub: Hub, contexts: Contexts | None) -> list[Database]:
    """Return the databases of the profiles; raises one ProfileError that names every wrong one."""
    given = [(name, data) for provider, name, data in plan.pairs(contexts) if provider == plan.DATABASES]
    if not given:
        return []
    from evbus_like.postgres import database

    if importlib.util.find_spec("psycopg") is None:
        raise ProfileError(
            f"profile {plan.DATABASES}:{given[0][0]}: it needs the library psycopg, which is not installed:"
            " pip install 'evbus-like[postgres]'"
        )
    wrong = []
    for name, data in given:
        text = "; ".join(database.problems({} if data is None else data)) or _connection_problem(data["connection"])
        if text:
            wrong.append(f"profile {plan.DATABASES}:{name}: {secrets.redact(text, secrets.find(data))}")
    if wrong:
        raise ProfileError("; ".join(wrong) if len(wrong) == 1 else "\n  ".join(["these profiles are wrong:", *wrong]))
    return [database.database(name, data) for name, data in given]


def _connection_problem(connection: str) -> str:
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        conninfo_to_dict(connection)
    except ProgrammingError:  # which quotes it, with the password
        return "option connection is neither a URL such as postgresql://USER@HOST/DATABASE nor libpq's key=value pairs"
    return ""


async def look_at(databases: Sequence[Database]) -> None:
    """Learn which databases the profiles lead to, if they answer soon: puts compare that with what they are given."""
    if databases:
        from evbus_like.postgres.table import identify

        for error in await asyncio.gather(*map(identify, databases), return_exceptions=True):
            if isinstance(error, EvbusError):
                log.warning("%s", error)
            elif error is not None:
                raise error


def begin(hub: Hub, databases: Sequence[Database]) -> Relays | None:
    """Let puts store events, and relay once the bus runs."""
    hub.evbus.RUNTIME.databases = hub.evbus.RUNTIME.bus.tables = None
    if not databases:
        return None
    relays = hub.evbus.RUNTIME.databases = Relays(hub, databases)
    return relays


async def end(hub: Hub, relays: Relays | None) -> None:
    """End what `begin` began."""
    hub.evbus.RUNTIME.bus.tables = None
    if relays is not None:
        await relays.close()


def must_not_change(hub: Hub, contexts: Contexts) -> None:
    """Raise ProfileError for wrong profiles at a reload, and log that changes take effect at the next start."""
    fresh = of_contexts(hub, contexts)
    relays = hub.evbus.RUNTIME.databases
    running = relays.databases if isinstance(relays, Relays) else ()
    options = ("name", "connection", "schema", "relay", "listen", "lease", "max_event_bytes", "rates", "timeout")

    def given(databases: Sequence[Database]) -> list[tuple[Any, ...]]:
        return sorted(tuple(getattr(each, option) for option in options) for each in databases)

    if given(fresh) != given(running):
        log.warning("profiles of the provider %s have changed, which takes effect at the next start", plan.DATABASES)


class Relays:
    """The relays of one bus."""

    def __init__(self, hub: Hub, databases: Sequence[Database]) -> None:
        import psycopg

        from evbus_like.postgres.relay import Relay
        from evbus_like.postgres.store import Store
        from evbus_like.postgres.table import Cancels, Table, identify

        bus, self.databases = hub.evbus.RUNTIME.bus, databases
        self._relays: dict[str, Relay] = {
            each.name: Relay(bus, each, Table(each), _converter(hub), (psycopg.Error,))
            for each in databases
            if each.relay
        }
        self._listening: list[asyncio.Task[None]] = []
        self._soon = {name: relay.soon for name, relay in self._relays.items()}
        serializer = plugins.serializer(hub, settings.serializer_name(hub))
        self._cancels = [Cancels(each) for each in databases]
        bus.tables = Store(databases, identify, self._stored, self._cancels, serializer)
        self._starting = asyncio.create_task(self._start(hub), name="evbus_like relays")

    async def _start(self, hub: Hub) -> None:
        await hub.evbus.RUNTIME.bus.join()
        for relay in self._relays.values():
            relay.start()
            if relay.database.listen:
                from evbus_like.postgres.listening import listen

                made = listen(relay.database, partial(relay.soon, True))
                self._listening.append(asyncio.create_task(made, name=f"evbus_like listen {relay.database.label}"))

    def _stored(self, database: Database, committed: bool, later: bool) -> None:
        if (soon := self._soon.get(database.name)) is not None:
            soon(committed, later)

    def stop_reading(self) -> None:
        """Take no more events from the tables."""
        for relay in self._relays.values():
            relay.stop_reading()

    async def close(self) -> None:
        """Delete what was delivered, and disconnect."""
        self._starting.cancel()
        await asyncio.gather(
            self._starting,
            *(relay.close() for relay in self._relays.values()),
            *(cancels.close() for cancels in self._cancels),
            return_exceptions=True,
        )

    def status(self) -> dict[str, Any]:
        """Return the state of each relay as plain data."""
        return {name: relay.status() for name, relay in self._relays.items()}


def _converter(hub: Hub) -> Any:
    """Return the function that gives the body of a row the format of another destination."""
    from evbus_like.hub import decoding

    decode = decoding.decoder(hub, tuple(decoding.formats(hub)))

    def convert(body: bytes, content_type: str, serializer: Serializer) -> bytes:
        return serializer.pack(decode(ReceivedEvent(body, content_type=content_type)), ())

    return convert
