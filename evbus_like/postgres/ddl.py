"""The tables in the application's database, as SQL that the application's own migrations run.

`evbus_outbox` holds one row for each event that waits: rows are inserted by the application's transactions and deleted
once delivered, never updated. `evbus_dead` keeps those that a destination gave up for good, and `evbus_scheduled`
those that are not due yet: the relay moves them into `evbus_outbox` when they are. `evbus_part` holds, for each part of
the outbox, who relays it (the lease), the id below which no row can appear any more, and the counts of the account.
`evbus_relay` names the processes that relay, `evbus_rate` holds until when each rate is used up. `evbus_inbox` holds a
mark for each event that a handler with `inbox=` has handled. `evbus_schema` says which version the tables have, and
holds an id made with them, by which a connection of another database is recognised.

Each version is the statements that lead to it from the one before. Nothing here is run by itself: `evbus db schema`
prints them.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_PARTS = 1024
DEFAULT_PARTS = 8
DEFAULT_SCHEMA = "public"


@dataclass(frozen=True)
class Version:
    """One version of the tables: its number, what it brings, and its SQL with places for {schema} and {parts}."""

    number: int
    title: str
    sql: str


VERSIONS = (
    Version(
        1,
        "the outbox",
        """\
CREATE TABLE {schema}.evbus_schema (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  integer NOT NULL,
    parts    smallint NOT NULL,
    id       uuid NOT NULL DEFAULT gen_random_uuid()
);
CREATE TABLE {schema}.evbus_outbox (
    part         smallint NOT NULL,
    id           bigint GENERATED ALWAYS AS IDENTITY,
    event_id     text NOT NULL,
    profile      text NOT NULL,
    service      text,
    routing_key  text NOT NULL,
    key          bytea,
    headers      json,
    content_type text NOT NULL,
    body         bytea NOT NULL,
    put_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (part, id)
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_threshold = -1
);
CREATE TABLE {schema}.evbus_dead (
    id           bigint NOT NULL,
    destination  text NOT NULL,
    event_id     text NOT NULL,
    profile      text NOT NULL,
    service      text,
    routing_key  text NOT NULL,
    key          bytea,
    headers      json,
    content_type text NOT NULL,
    body         bytea NOT NULL,
    put_at       timestamptz NOT NULL,
    reason       text NOT NULL,
    died_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (id, destination)
);
CREATE TABLE {schema}.evbus_part (
    part          smallint PRIMARY KEY,
    owner         text,
    expires       timestamptz NOT NULL DEFAULT '-infinity',
    floor         bigint NOT NULL DEFAULT 0,
    delivered     bigint NOT NULL DEFAULT 0,
    dead_lettered bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE TABLE {schema}.evbus_relay (
    owner   text PRIMARY KEY,
    expires timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
INSERT INTO {schema}.evbus_part (part) SELECT generate_series(0, {parts} - 1);
INSERT INTO {schema}.evbus_schema (version, parts) VALUES (1, {parts});
""",
    ),
    Version(
        2,
        "the inbox",
        """\
CREATE TABLE {schema}.evbus_inbox (
    handler    text NOT NULL,
    event_id   text NOT NULL,
    handled_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (handler, event_id)
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX evbus_inbox_handled_at ON {schema}.evbus_inbox (handled_at);
""",
    ),
    Version(
        3,
        "events that are sent later",
        """\
CREATE TABLE {schema}.evbus_scheduled (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    due          timestamptz NOT NULL,
    part         smallint NOT NULL,
    event_id     text NOT NULL,
    profile      text NOT NULL,
    service      text,
    routing_key  text NOT NULL,
    key          bytea,
    headers      json,
    content_type text NOT NULL,
    body         bytea NOT NULL,
    put_at       timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX evbus_scheduled_due ON {schema}.evbus_scheduled (part, due, id);
CREATE INDEX evbus_scheduled_event_id ON {schema}.evbus_scheduled (event_id);
""",
    ),
    Version(
        4,
        "rates",
        """\
CREATE TABLE {schema}.evbus_rate (
    name text PRIMARY KEY,
    used double precision NOT NULL DEFAULT 0,
    span double precision NOT NULL DEFAULT 0,
    runs jsonb NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
""",
    ),
)
LATEST = VERSIONS[-1].number


def statements(schema: str = DEFAULT_SCHEMA, parts: int = DEFAULT_PARTS, after: int = 0) -> str:
    """Return the SQL that leads from version `after` (0: no tables) to the latest one, as one transaction.

    Raises ValueError for a number of parts, or a version, that cannot be.
    """
    if not 1 <= parts <= MAX_PARTS:
        raise ValueError(f"parts must be from 1 to {MAX_PARTS}, not {parts}")
    if not 0 <= after <= LATEST:
        raise ValueError(f"there is no version {after}: versions are 0 (no tables) to {LATEST}")
    wanted = [version for version in VERSIONS if version.number > after]
    if not wanted:
        return ""
    quoted = quote(schema)
    text = ["BEGIN;"]
    if not after and schema != DEFAULT_SCHEMA:
        text.append(f"CREATE SCHEMA IF NOT EXISTS {quoted};")
    for version in wanted:
        text.append(f"-- evbus_like, version {version.number}: {version.title}")
        text.append(version.sql.replace("{schema}", quoted).replace("{parts}", str(parts)).rstrip())
        if version.number > 1:
            text.append(f"UPDATE {quoted}.evbus_schema SET version = {version.number};")
    return "\n".join([*text, "COMMIT;", ""])


CHANNEL = "evbus_outbox"  # of NOTIFY, followed by the name of the schema
NOTIFY = """\
BEGIN;
-- evbus_like: wakes the relays of profiles with `listen: true`. Commits that notify wait for one another.
CREATE OR REPLACE FUNCTION {schema}.evbus_notify() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_notify({channel}, ''); RETURN NULL; END $$;
CREATE OR REPLACE TRIGGER evbus_notify AFTER INSERT ON {schema}.evbus_outbox
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.evbus_notify();
COMMIT;
"""


def notify(schema: str = DEFAULT_SCHEMA) -> str:
    """Return the SQL of the trigger that notifies relays; it needs PostgreSQL 14."""
    channel = "'" + channel_of(schema).replace("'", "''") + "'"
    return NOTIFY.replace("{schema}", quote(schema)).replace("{channel}", channel)


def channel_of(schema: str) -> str:
    """Return the channel on which the relays of a schema listen."""
    return f"{CHANNEL}:{schema}"[:63]


def other_version(version: int) -> str:
    """Say what to do about tables of another version."""
    if version > LATEST:
        return f"its tables have version {version}, and this release knows versions up to {LATEST}: install a newer one"
    return f"its tables have version {version}, and this release needs {LATEST}: `evbus db schema --after {version}`"


def quote(name: str) -> str:
    """Return a name as SQL writes it; raises ValueError if it cannot be one."""
    if not name or not name.isprintable() or "%" in name or len(name.encode()) > 63:  # % marks values in statements
        raise ValueError(f"the name of a schema is printable text of 1 to 63 bytes without %, not {name[:80]!r}")
    return '"' + name.replace('"', '""') + '"'
