"""The statements of the relay, with places for the names of the tables.

They work through PgBouncer in transaction mode: what one sets is of its transaction alone.
"""

from __future__ import annotations

# The columns of a row before its body, and after it.
BEFORE = "o.part, o.id, event_id, profile, service, routing_key, key, headers::text, content_type"
AFTER = "date_part('epoch', put_at)"
NAMES = "coalesce(%s::text[], string_to_array(%s, E'\\x1f'))"  # see `table._values`

STATEMENTS = {
    "identity": "SELECT current_database(), version, parts, id::text FROM {schema}",
    "seen": """INSERT INTO {relay} (owner, expires) VALUES (%s, clock_timestamp() + make_interval(secs => %s))
        ON CONFLICT (owner) DO UPDATE SET expires = excluded.expires""",
    "forget": "DELETE FROM {relay} WHERE expires < clock_timestamp() - make_interval(secs => %s)",
    "give_up": "UPDATE {part} SET owner = NULL, expires = '-infinity' WHERE owner = %s AND part = ANY(%s::smallint[])",
    "renew": """UPDATE {part} SET expires = clock_timestamp() + make_interval(secs => %s) WHERE owner = %s
        RETURNING part, floor""",
    "floors": """UPDATE {part} p SET floor = f.floor FROM unnest(%s::smallint[], %s::bigint[]) AS f(part, floor)
        WHERE p.part = f.part AND p.owner = %s AND p.floor < f.floor""",
    "share": """SELECT ceil((SELECT count(*) FROM {part})::float8
        / greatest(1, (SELECT count(*) FROM {relay} WHERE expires > clock_timestamp())))::int""",
    "take": """UPDATE {part} SET owner = %s, expires = clock_timestamp() + make_interval(secs => %s)
        WHERE part IN (SELECT part FROM {part} WHERE owner IS NULL OR expires < clock_timestamp()
                       ORDER BY part LIMIT %s FOR UPDATE SKIP LOCKED)
        RETURNING part, floor""",
    "release": "UPDATE {part} SET owner = NULL, expires = '-infinity' WHERE owner = %s",
    "gone": "DELETE FROM {relay} WHERE owner = %s",
    "count": """SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(put_at)), 0)::float8
        FROM {outbox} WHERE part = ANY(%s::smallint[])""",
    "count_later": "SELECT count(*) FROM {scheduled} WHERE part = ANY(%s::smallint[])",
    # By the time of the statement: that of the clock may change during it, and no index could be used.
    "first_due": """SELECT date_part('epoch', min(s.due) - statement_timestamp())
        FROM unnest(%s::smallint[]) AS p(part) CROSS JOIN LATERAL
        (SELECT due FROM {scheduled} WHERE part = p.part ORDER BY due LIMIT 1) s""",
    # Those that a transaction is about to cancel are locked, and are left.
    "fire": """WITH due AS (SELECT s.id FROM unnest(%s::smallint[]) AS p(part) CROSS JOIN LATERAL
         (SELECT id, sum(size) OVER (ORDER BY due, id) - size AS before FROM
          (SELECT id, due, octet_length(body) AS size FROM {scheduled}
           WHERE part = p.part AND due <= statement_timestamp() ORDER BY due, id LIMIT %s FOR UPDATE SKIP LOCKED) s) s
         WHERE s.before < %s),
        gone AS (DELETE FROM {scheduled} s USING due d WHERE s.id = d.id RETURNING s.*),
        sent AS (INSERT INTO {outbox} (part, event_id, profile, service, routing_key, key, headers, content_type, body)
            SELECT part, event_id, profile, service, routing_key, key, headers, content_type, body
            FROM gone ORDER BY due, id RETURNING 1)
        SELECT count(*) FROM sent""",
    "cancel": "DELETE FROM {scheduled} WHERE event_id = %s RETURNING 1",
    # The statistics of a queue say little: it was empty, or had a million rows, when they were made. What is switched
    # off here seems so dear that PostgreSQL would compile each statement, for half a second, but for jit.
    "plan": """SELECT set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true),
        set_config('enable_bitmapscan', 'off', true), set_config('enable_sort', 'off', true),
        set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)""",
    # The usual read leaves out large bodies, and a read that has found one is made again with the other statement. That
    # leaves a row out if those before it are too many bytes already, which costs a third more. The length of a large
    # body is known without reading it.
    "read": """SELECT {before}, CASE WHEN octet_length(body) <= %s THEN body END, {after}
        FROM unnest(%s::smallint[], %s::bigint[]) AS p(part, last) CROSS JOIN LATERAL
        (SELECT * FROM {outbox} WHERE part = p.part AND id > p.last ORDER BY id LIMIT %s) o""",
    "read_large": """SELECT {before}, body, {after}
        FROM unnest(%s::smallint[], %s::bigint[]) AS p(part, last) CROSS JOIN LATERAL
        (SELECT *, sum(octet_length(body)) OVER (ORDER BY id) - octet_length(body) AS before
         FROM (SELECT * FROM {outbox} WHERE part = p.part AND id > p.last ORDER BY id LIMIT %s) o) o
        WHERE o.before < %s""",
    "quiet": "SELECT pg_snapshot_xmin(s) = pg_snapshot_xmax(s) FROM pg_current_snapshot() s",
    "late": """SELECT pg_snapshot_xmin(s)::text, pg_snapshot_xmax(s)::text, o.part, o.id, o.event_id
        FROM pg_current_snapshot() s LEFT JOIN
        (SELECT o.* FROM unnest(%s::smallint[], %s::bigint[], %s::bigint[]) AS p(part, least, last) CROSS JOIN LATERAL
         (SELECT part, id, event_id FROM {outbox}
          WHERE part = p.part AND id > p.least AND id <= p.last ORDER BY id LIMIT %s) o) o ON true""",
    "fetch": """SELECT {before}, body, {after} FROM unnest(%s::smallint[], %s::bigint[]) WITH ORDINALITY AS k(p, i, n)
        JOIN {outbox} o ON o.part = k.p AND o.id = k.i ORDER BY k.n""",
    "delivered": """WITH gone AS (DELETE FROM {outbox} o
            USING unnest(%s::smallint[], %s::bigint[], {names}) AS d(part, id, event_id)
            WHERE o.part = d.part AND o.id = d.id AND o.event_id = d.event_id RETURNING o.part)
        UPDATE {part} p SET delivered = p.delivered + n
        FROM (SELECT part, count(*) AS n FROM gone GROUP BY part) g WHERE p.part = g.part""",
    # All rows from a first to a last id of each part: half of the time that so many ids take. They come in the order of
    # the index; in another one, they would be taken for others, and deleted by their ids.
    "between": """WITH gone AS (DELETE FROM {outbox} o
            USING unnest(%s::smallint[], %s::bigint[], %s::bigint[]) AS d(part, first, last)
            WHERE o.part = d.part AND o.id >= d.first AND o.id <= d.last RETURNING o.part, o.id, o.event_id)
        SELECT part, count(*), sum(id)::text, string_agg(event_id, E'\\x1f') FROM gone GROUP BY part""",
    "counted": """UPDATE {part} p SET delivered = p.delivered + n
        FROM unnest(%s::smallint[], %s::bigint[]) AS d(part, n) WHERE p.part = d.part""",
    "dead": """WITH gone AS (DELETE FROM {outbox} o
            USING unnest(%s::smallint[], %s::bigint[], {names}) AS d(part, id, event_id)
            WHERE o.part = d.part AND o.id = d.id AND o.event_id = d.event_id RETURNING o.part)
        UPDATE {part} p SET dead_lettered = p.dead_lettered + n
        FROM (SELECT part, count(*) AS n FROM gone GROUP BY part) g WHERE p.part = g.part""",
    "keep": """INSERT INTO {dead} (id, destination, event_id, profile, service, routing_key, key, headers, content_type,
            body, put_at, reason)
        SELECT o.id, d.destination, o.event_id, o.profile, o.service, o.routing_key, o.key, o.headers, o.content_type,
            o.body, o.put_at, d.reason
        FROM unnest(%s::smallint[], %s::bigint[], {names}, %s::text[], %s::text[])
            AS d(part, id, event_id, destination, reason)
        JOIN {outbox} o ON o.part = d.part AND o.id = d.id AND o.event_id = d.event_id
        ON CONFLICT DO NOTHING""",
}
