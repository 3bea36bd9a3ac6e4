"""A profile of the provider `postgres`: one database in which the application stores events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from evbus_like.engine import options
from evbus_like.postgres import ddl

PROVIDER = "postgres"
OPTIONS: options.Spec = {
    "connection": (
        str,
        "a URL, postgresql://USER:PASSWORD@HOST/DATABASE, or libpq's key=value pairs; sslmode=verify-full"
        " verifies the server",
    ),
    "schema": (str, "the schema of the tables (default: public)"),
    "relay": (bool, "whether this process delivers events from the table; false: others do (default: true)"),
    "listen": (
        bool,
        "true: wait for NOTIFY instead of polling; needs the trigger of `evbus db schema --notify` and a direct"
        " connection (default: false)",
    ),
    "lease": (
        options.NUMBER,
        "seconds after which the parts of a process that has died are taken over, 1 to 3600 (default: 5)",
    ),
    "max_event_bytes": (int, "the largest body that is stored (default: 16777216, 16 MiB)"),
    "inbox_keep": (
        options.NUMBER,
        "seconds that the marks of handled events are kept, for handlers with inbox= (default: 604800, 7 days)",
    ),
    "rates": (bool, "whether machines share the rates of handlers and profiles by this database (default: true)"),
    "timeout": (options.NUMBER, "seconds that connecting, or a statement of the relay, may take (default: 10)"),
}
LEASES = (1.0, 3600.0)
KEPT = (1.0, 10 * 366 * 86400.0)
BATCH = 1000  # rows that are read, and deleted, at once


@dataclass
class Database:
    """The checked options. `identity` is the database's name and the id in its tables, once something has read them."""

    name: str  # of the profile
    connection: str = field(repr=False)  # it may hold a password
    schema: str = ddl.DEFAULT_SCHEMA
    relay: bool = True
    listen: bool = False
    lease: float = 5.0
    max_event_bytes: int = 16 * 1024 * 1024
    inbox_keep: float = 7 * 86400.0
    rates: bool = True
    timeout: float = 10.0
    identity: tuple[str, str] | None = None

    @property
    def label(self) -> str:
        """The name in messages."""
        return f"{PROVIDER}:{self.name}"

    def table(self, name: str) -> str:
        """Return the name of a table as SQL has it."""
        return f"{ddl.quote(self.schema)}.{name}"


def problems(data: Any) -> Iterator[str]:
    """Yield what is wrong with the options of a profile."""
    if not isinstance(data, Mapping):
        yield f"its data must be a mapping of options, not {type(data).__name__}"
        return
    yield from options.problems(data, OPTIONS)
    if "connection" not in data:
        yield "option connection is missing: postgresql://USER:PASSWORD@HOST/DATABASE"
    schema, lease, kept = data.get("schema"), data.get("lease"), data.get("inbox_keep")
    if isinstance(schema, str) and schema:
        try:
            ddl.quote(schema)
        except ValueError as error:
            yield f"option schema: {error}"
    if isinstance(lease, options.NUMBER) and not isinstance(lease, bool) and not LEASES[0] <= lease <= LEASES[1]:
        yield f"option lease must be from {LEASES[0]:g} to {LEASES[1]:g} seconds, not {lease!r}"
    if isinstance(kept, options.NUMBER) and not isinstance(kept, bool) and not KEPT[0] <= kept <= KEPT[1]:
        yield f"option inbox_keep must be from {KEPT[0]:g} to {KEPT[1]:.0f} seconds, not {kept!r}"


def database(name: str, data: Mapping[str, Any]) -> Database:
    """Return the database of a profile without problems."""
    return Database(name, **{option: data[option] for option in OPTIONS if data.get(option) is not None})
