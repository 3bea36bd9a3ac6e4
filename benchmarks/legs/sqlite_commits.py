"""The limit of durable puts: SQLite alone, `rows` small events to a commit, write-ahead log and synchronous=FULL.

No thread, no loop, no serializer: the rows are ready before the clock starts.
"""

from __future__ import annotations

import sqlite3
import tempfile

import orjson
from measure import Clock, bodies, config


def main() -> None:
    """Run the leg."""
    asked = config()
    count, rows = asked["events"], asked["rows"]
    ready = [(f"id-{n:x}", "bench", "default", orjson.dumps(body)) for n, body in enumerate(bodies(asked, count))]
    with tempfile.TemporaryDirectory(prefix="evbus-bench-") as folder:
        connection = sqlite3.connect(f"{folder}/events.sqlite", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, id TEXT, key TEXT, profile TEXT, body BLOB)")
        insert = "INSERT INTO events (id, key, profile, body) VALUES (?, ?, ?, ?)"
        clock = Clock()
        for start in range(0, count, rows):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(insert, ready[start : start + rows])
            connection.execute("COMMIT")
        stored = connection.execute("SELECT count(*) FROM events").fetchone()[0]
        clock.stop(stored)
        connection.close()


main()
