"""The limit of a relay: a loop that selects and deletes 1,000 rows at a time, with psycopg, and does nothing else."""

from __future__ import annotations

import psycopg
from measure import Clock, config
from postgres_tables import PARTS, database, drop, fill

COLUMNS = "id, event_id, profile, service, routing_key, key, headers::text, content_type, body, put_at"
READ = f"SELECT {COLUMNS} FROM evbus_outbox WHERE part = %s ORDER BY id LIMIT 1000"


def main() -> None:
    """Run the leg."""
    asked = config()
    count, done = asked["events"], 0
    url = database(asked)
    with psycopg.connect(url, autocommit=True) as conn:
        fill(conn, count)
        conn.execute("SET enable_bitmapscan = off")  # as a plan by the index is what anybody would see to
        clock = Clock()
        while done < count:
            for part in range(PARTS):
                rows = conn.cursor(binary=True).execute(READ, [part]).fetchall()
                if rows:
                    ids = "{" + ",".join([str(row[0]) for row in rows]) + "}"
                    conn.execute("DELETE FROM evbus_outbox WHERE part = %s AND id = ANY(%s)", [part, ids])
                    done += len(rows)
        clock.stop(done)
    drop(asked, url)


main()
