"""Looking at the tables of one database, for the command: what is missing, and the account."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from evbus_like.engine.errors import StorageError
from evbus_like.postgres import ddl
from evbus_like.postgres.database import Database
from evbus_like.postgres.table import TABLES as NAMES
from evbus_like.postgres.table import said

LEAST_SERVER = 130000
# What the user of the relay's connection does with each table; an application needs the first two of the outbox alone.
RIGHTS = {
    "evbus_schema": ("SELECT",),
    "evbus_outbox": ("SELECT", "INSERT", "DELETE"),
    "evbus_dead": ("SELECT", "INSERT"),
    "evbus_part": ("SELECT", "UPDATE"),
    "evbus_relay": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "evbus_inbox": ("SELECT", "INSERT", "DELETE"),
    "evbus_rate": ("SELECT", "INSERT", "UPDATE"),
    "evbus_scheduled": ("SELECT", "UPDATE", "DELETE"),  # UPDATE is for its locks
}
TABLES = """SELECT c.relname, c.oid::bigint, coalesce(c.reloptions, '{}'::text[]),
        (SELECT array_agg(a.attname::text) FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relkind IN ('r', 'p')"""
SEQUENCE = """SELECT s.seqcache FROM pg_sequence s JOIN pg_depend d ON d.objid = s.seqrelid
    WHERE d.refobjid = %s::oid AND d.classid = 'pg_class'::regclass"""
INDEX = """SELECT count(*) FROM pg_index i WHERE i.indrelid = %s::oid AND i.indisvalid AND
    (SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(i.indkey) WITH ORDINALITY k(num, n)
     JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.num)[1:2] = ARRAY['part', 'id']"""


def columns() -> dict[str, set[str]]:
    """Return the columns of each table, as the SQL of the versions has them."""
    found: dict[str, set[str]] = {}
    for version in ddl.VERSIONS:
        for part in version.sql.split("CREATE TABLE {schema}.")[1:]:
            name, _, rest = part.partition(" (\n")
            lines = [line.split() for line in rest.partition("\n)")[0].splitlines()]
            found[name] = {line[0] for line in lines if line[0].islower()}
    return found


def connect(database: Database) -> psycopg.Connection[Any]:
    """Connect to a database; raises StorageError."""
    try:
        return psycopg.connect(
            database.connection,
            autocommit=True,
            connect_timeout=max(2, int(database.timeout)),
            prepare_threshold=None,
            application_name="evbus db",
        )
    except psycopg.Error as error:
        raise StorageError(f"{database.label}: {said(error)}") from None


def check(database: Database) -> list[str]:
    """Return what is wrong with the tables, and what to do; raises StorageError if they cannot be looked at."""
    with connect(database) as conn:
        try:
            return list(_problems(conn, database))
        except psycopg.Error as error:
            raise StorageError(f"{database.label}: {said(error)}") from None


def _problems(conn: psycopg.Connection[Any], database: Database) -> Iterator[str]:
    schema = database.schema
    if conn.info.server_version < LEAST_SERVER:
        yield f"the server is PostgreSQL {conn.info.server_version // 10000}; 13 or later is needed"
    if conn.execute("SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on'").fetchall()[
        0
    ][0]:
        yield "the server is read-only, so nothing can be stored or relayed: connect to the primary"
    tables = {name: (oid, options, set(names)) for name, oid, options, names in conn.execute(TABLES, [schema])}
    wanted = columns()
    if not wanted.keys() & tables.keys():
        yield f"there are no tables in the schema {schema!r}: `evbus db schema` prints the SQL that makes them"
        return
    for name in wanted.keys() - tables.keys():
        yield f"the table {schema}.{name} is missing: `evbus db schema` prints the SQL that makes it"
    for name in wanted.keys() & tables.keys():
        oid, _, names = tables[name]
        if missing := sorted(wanted[name] - names):
            yield f"the table {schema}.{name} has no column {', '.join(missing)}"
        rights = RIGHTS.get(name, ())
        lacking = [
            right
            for right in rights
            if not conn.execute("SELECT has_table_privilege(%s::oid, %s)", [oid, right]).fetchall()[0][0]
        ]
        if lacking:
            yield f"this user lacks rights: GRANT {', '.join(lacking)} ON {database.table(name)}"
    if "evbus_schema" in tables:
        yield from _version(conn, database, tables)
    if "evbus_outbox" in tables:
        yield from _outbox(conn, tables["evbus_outbox"])


def _version(conn: psycopg.Connection[Any], database: Database, tables: dict[str, Any]) -> Iterator[str]:
    rows = conn.execute(f"SELECT version, parts FROM {database.table('evbus_schema')}").fetchall()
    if not rows:
        yield "the table evbus_schema is empty: `evbus db schema` prints the INSERT for it"
        return
    version, parts = rows[0]
    if version != ddl.LATEST:
        yield ddl.other_version(version)
    if "evbus_part" in tables:
        sql = f"SELECT count(*) FROM {database.table('evbus_part')} WHERE part >= 0 AND part < %s"
        found = conn.execute(sql, [parts]).fetchall()[0][0]
        if found != parts:
            yield f"the table evbus_part has {found} of the {parts} parts: events of the others are never relayed"


def _outbox(conn: psycopg.Connection[Any], table: Any) -> Iterator[str]:
    oid, options, _ = table
    if not conn.execute(INDEX, [oid]).fetchall()[0][0]:
        yield "the table evbus_outbox has no valid index on (part, id): every read would be a scan of the whole table"
    if "autovacuum_vacuum_scale_factor=0" not in options:
        yield (
            "the table evbus_outbox has not autovacuum_vacuum_scale_factor = 0, and would be vacuumed too late:"
            " ALTER TABLE ... SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000)"
        )
    cache = conn.execute(SEQUENCE, [oid]).fetchall()
    if cache and cache[0][0] != 1:
        yield f"the ids of evbus_outbox are given in blocks of {cache[0][0]}: ALTER TABLE ... ALTER id SET CACHE 1"


@dataclass(frozen=True)
class Account:
    """The account of one database, by SQL: stored = delivered + dead_lettered + waiting.

    `oldest_age` is in seconds; `scheduled` events are to be sent later, the first at `first_due`. `by_profile` counts
    what waits; `relays` maps a process that relays to its parts, and `unowned` counts parts that nobody relays now.
    `bytes` are those of the table with its index.
    """

    database: str
    schema: str
    version: int
    stored: int
    delivered: int
    dead_lettered: int
    waiting: int
    oldest_age: float
    by_profile: dict[str, int]
    relays: dict[str, int]
    unowned: int
    dead: int
    bytes: int
    scheduled: int
    first_due: float | None


def account(database: Database) -> Account:
    """Return the account; raises StorageError."""
    with connect(database) as conn:
        try:
            # One snapshot: a row is deleted and counted in one transaction.
            with conn.transaction():
                conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                return _account(conn, database)
        except psycopg.Error as error:
            raise StorageError(f"{database.label}: {said(error)}; `evbus db check` says more") from None


def _account(conn: psycopg.Connection[Any], database: Database) -> Account:
    def rows(sql: str) -> list[tuple[Any, ...]]:
        names = {name: database.table(f"evbus_{name}") for name in NAMES}
        return conn.execute(sql.format(**names)).fetchall()

    name, version = rows("SELECT current_database(), version FROM {schema}")[0]
    delivered, dead = rows("SELECT sum(delivered)::bigint, sum(dead_lettered)::bigint FROM {part}")[0]
    by_profile = dict(rows("SELECT profile, count(*) FROM {outbox} GROUP BY profile ORDER BY 2 DESC, 1"))
    (age,) = rows("SELECT extract(epoch FROM clock_timestamp() - min(put_at))::float8 FROM {outbox}")[0]
    owned = "SELECT owner, count(*) FROM {part} WHERE owner IS NOT NULL AND expires > clock_timestamp() GROUP BY owner"
    relays = dict(rows(f"{owned} ORDER BY owner"))
    (parts,) = rows("SELECT count(*) FROM {part}")[0]
    (kept,) = rows("SELECT count(*) FROM {dead}")[0]
    (size,) = rows("SELECT pg_total_relation_size('{outbox}')")[0]
    scheduled, first_due = rows("SELECT count(*), date_part('epoch', min(due)) FROM {scheduled}")[0]
    waiting = sum(by_profile.values())
    return Account(
        name,
        database.schema,
        version,
        delivered + dead + waiting,
        delivered,
        dead,
        waiting,
        max(0.0, age or 0.0),
        by_profile,
        relays,
        parts - sum(relays.values()),
        kept,
        size,
        scheduled,
        first_due,
    )


def scheduled(database: Database, limit: int) -> tuple[int, list[dict[str, Any]]]:
    """Return how many events are to be sent later, and those that are due next; raises StorageError."""
    table = database.table("evbus_scheduled")
    columns = "event_id AS id, date_part('epoch', due) AS due, routing_key, profile, octet_length(body) AS bytes"
    with connect(database) as conn:
        try:
            (count,) = conn.execute(f"SELECT count(*) FROM {table}").fetchall()[0]
            cursor = psycopg.Cursor(conn, row_factory=psycopg.rows.dict_row)
            return count, cursor.execute(f"SELECT {columns} FROM {table} ORDER BY due LIMIT %s", [limit]).fetchall()
        except psycopg.Error as error:
            raise StorageError(f"{database.label}: {said(error)}; `evbus db check` says more") from None
