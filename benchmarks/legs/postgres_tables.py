"""PostgreSQL for the legs: a fresh database with the tables of the outbox, and rows in it."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import psycopg

PARTS = 8
BODY = '{"message":"event content","n":1}'


def database(asked: dict[str, Any]) -> str:
    """Create a database, and return its URL."""
    name, server = f"bench_{uuid.uuid4().hex[:12]}", asked["postgres_url"]
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
    url = f"{server.rpartition('/')[0]}/{name}"
    evbus = Path(sys.executable).with_name("evbus")
    command = [str(evbus), "db", "schema", "--parts", str(PARTS)]
    sql = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql)
    return url


def fill(conn: Any, count: int) -> None:
    """Insert rows of all parts, in turn."""
    conn.execute(
        "INSERT INTO evbus_outbox (part, event_id, profile, routing_key, content_type, body)"
        f" SELECT n % {PARTS}, 'e6f0a1b2c3d4e5f60718-' || to_hex(n), 'default', 'bench', 'application/json', '{BODY}'"
        f" FROM generate_series(1, {count}) n"
    )


def drop(asked: dict[str, Any], url: str) -> None:
    """Drop the database."""
    with psycopg.connect(asked["postgres_url"], autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")
