"""The legs and the rows: what is measured, beside what, and what is to be reached."""

from __future__ import annotations

from benchmarks.model import Group, Leg, Row
from benchmarks.venvs import NAMEKO

WEBHOOKS = {"body": "webhooks"}

BOUND, FULL, AWAIT, TASKS = ({"way": way} for way in ("bound", "full", "await", "tasks"))
FULLER = {"app_id": "evbus_like", "id_header": "evbus-id"}
POP = "pop-evbus-brokers"  # with evbus-pika and evbus-kafka, as we have both
POP_ALONE = "pop-evbus"

MEMORY = Group(
    "in memory",
    (
        Leg("put_nowait", "memory_ours", 100_000, 300_000, options=BOUND),
        Leg("put_nowait, full call", "memory_ours", 100_000, 300_000, options=FULL),
        Leg("await put", "memory_ours", 60_000, 200_000, options=AWAIT),
        Leg("await put, 100 tasks", "memory_ours", 60_000, 200_000, options=TASKS),
        Leg("bare loop", "memory_bare", 100_000, 300_000),
        Leg("pop-evbus put_nowait", "memory_pop_evbus", 5_000, 20_000, POP, options=BOUND),
        Leg("pop-evbus await put", "memory_pop_evbus", 5_000, 20_000, POP, options=AWAIT),
        Leg("pop-evbus await put, 100 tasks", "memory_pop_evbus", 5_000, 20_000, POP, options=TASKS),
        Leg("pop-evbus without broker plugins", "memory_pop_evbus", None, 20_000, POP_ALONE, options=BOUND),
    ),
    (
        Row("put_nowait bound once / bare loop", "put_nowait", ("bare loop",), at_least=1.5),
        Row("put_nowait bound once / pop-evbus", "put_nowait", ("pop-evbus put_nowait",), at_least=20),
        Row("put_nowait bound once / pop-evbus alone", "put_nowait", ("pop-evbus without broker plugins",)),
        Row("hub.evbus.broker.put_nowait(...) / bare loop", "put_nowait, full call", ("bare loop",), at_least=0.45),
        Row("await put / pop-evbus", "await put", ("pop-evbus await put",), at_least=5),
        Row("100 tasks / pop-evbus", "await put, 100 tasks", ("pop-evbus await put, 100 tasks",), at_least=12),
    ),
    quick_rounds=2,
    full_rounds=7,
)

MEMORY_WEBHOOKS = Group(
    "in memory, webhooks",
    (
        Leg("put_nowait", "memory_ours", 5_000, 30_000, options=BOUND | WEBHOOKS),
        Leg("bare loop", "memory_bare", 3_000, 10_000, options=WEBHOOKS),
        Leg("pop-evbus put_nowait", "memory_pop_evbus", None, 8_000, POP, options=BOUND | WEBHOOKS),
    ),
    (
        Row("put_nowait bound once / bare loop", "put_nowait", ("bare loop",), at_least=3.5),
        Row("put_nowait bound once / pop-evbus", "put_nowait", ("pop-evbus put_nowait",)),
    ),
    quick_rounds=2,
    full_rounds=5,
)

RABBITMQ = Group(
    "RabbitMQ",
    (
        Leg("one profile", "deliver_ours", 25_000, 60_000, queues=1),
        Leg("one profile, more properties", "deliver_ours", None, 60_000, queues=1, options={"amqp": FULLER}),
        Leg("wire limit", "rabbit_wire", 25_000, 60_000, "peers", queues=1),
        Leg("FastStream, 500 in flight", "rabbit_faststream", 4_000, 20_000, "peers", queues=1),
        Leg("aio-pika, 1000 in flight", "rabbit_aio_pika", 5_000, 30_000, "peers", queues=1),
        Leg("pop-evbus + evbus-pika", "rabbit_pop_evbus", 100, 400, POP, queues=1),
        Leg("kombu, confirm_publish", "rabbit_kombu", None, 5_000, "peers", queues=1),
    ),
    (
        Row("one profile / wire limit", "one profile", ("wire limit",), at_least=0.9),
        Row("one profile / FastStream", "one profile", ("FastStream, 500 in flight",), at_least=5),
        Row("one profile / aio-pika", "one profile", ("aio-pika, 1000 in flight",), at_least=5),
        Row("one profile / pop-evbus", "one profile", ("pop-evbus + evbus-pika",), at_least=100),
        Row("app_id and id_header / without", "one profile, more properties", ("one profile",)),
        Row("one profile / kombu", "one profile", ("kombu, confirm_publish",)),
        Row("wire limit / aio-pika: what is possible", "wire limit", ("aio-pika, 1000 in flight",)),
        Row("wire limit / FastStream: what is possible", "wire limit", ("FastStream, 500 in flight",)),
        Row("wire limit / pop-evbus: what is possible", "wire limit", ("pop-evbus + evbus-pika",)),
    ),
    quick_rounds=2,
    full_rounds=7,
    brokers=("rabbitmq",),
)

RABBITMQ_WEBHOOKS = Group(
    "RabbitMQ, webhooks",
    (
        Leg("one profile", "deliver_ours", 3_000, 12_000, queues=1, options=WEBHOOKS),
        Leg("wire limit", "rabbit_wire", 3_000, 12_000, "peers", queues=1, options=WEBHOOKS),
        Leg("aio-pika, 1000 in flight", "rabbit_aio_pika", None, 8_000, "peers", queues=1, options=WEBHOOKS),
    ),
    (
        Row("one profile / wire limit", "one profile", ("wire limit",), at_least=0.75),
        Row("one profile / aio-pika", "one profile", ("aio-pika, 1000 in flight",)),
    ),
    quick_rounds=2,
    full_rounds=5,
    brokers=("rabbitmq",),
)

KAFKA = Group(
    "Kafka",
    (
        Leg("one profile", "deliver_ours", 80_000, 300_000, topics=1),
        Leg("aiokafka send", "kafka_aiokafka", 50_000, 150_000, "peers", topics=1),
        Leg("confluent-kafka produce", "kafka_confluent", 100_000, 400_000, "peers", topics=1),
        Leg("confluent-kafka, linger 0", "kafka_confluent", 80_000, 200_000, "peers", topics=1, options={"linger": 0}),
    ),
    (
        Row("one profile / aiokafka", "one profile", ("aiokafka send",), at_least=1.5),
        Row("one profile / confluent-kafka", "one profile", ("confluent-kafka produce",), at_least=0.8),
        Row("one profile / confluent-kafka, linger 0", "one profile", ("confluent-kafka, linger 0",), at_least=1.0),
    ),
    quick_rounds=2,
    full_rounds=7,
    brokers=("kafka",),
)

KAFKA_WEBHOOKS = Group(
    "Kafka, webhooks",
    (
        Leg("one profile", "deliver_ours", 4_000, 12_000, topics=1, options=WEBHOOKS),
        Leg("aiokafka send", "kafka_aiokafka", 4_000, 12_000, "peers", topics=1, options=WEBHOOKS),
        Leg("confluent-kafka produce", "kafka_confluent", 4_000, 12_000, "peers", topics=1, options=WEBHOOKS),
    ),
    (
        Row("one profile / aiokafka", "one profile", ("aiokafka send",), at_least=1.05),
        Row("one profile / confluent-kafka", "one profile", ("confluent-kafka produce",), at_least=0.8),
    ),
    quick_rounds=2,
    full_rounds=5,
    brokers=("kafka",),
)

ONCE, TWICE, THRICE = "RabbitMQ alone", "RabbitMQ and Kafka", "three on RabbitMQ"
FAN_OUT = Group(
    "fan-out",
    (
        Leg(ONCE, "deliver_ours", 20_000, 60_000, queues=1),
        Leg("Kafka alone", "deliver_ours", 80_000, 300_000, topics=1),
        Leg(TWICE, "deliver_ours", 20_000, 60_000, queues=1, topics=1),
        Leg(THRICE, "deliver_ours", 8_000, 30_000, queues=3),
    ),
    (
        Row("RabbitMQ and Kafka at once / RabbitMQ alone", TWICE, (ONCE,), at_least=0.8),
        Row("RabbitMQ and Kafka at once / one after the other", TWICE, (ONCE, "Kafka alone"), at_least=0.8),
        Row("three profiles on one RabbitMQ / one", THRICE, (ONCE,), at_least=0.8),
    ),
    quick_rounds=1,
    full_rounds=5,
    brokers=("rabbitmq", "kafka"),
)

LATENCY = Group(
    "latency",
    (
        Leg("confirm=delivered", "latency_ours", 1_000, 3_000, queues=1),
        Leg("aio-pika", "latency_aio_pika", 1_000, 3_000, "peers", queues=1),
    ),
    (
        Row("p50, one event at a time to RabbitMQ / aio-pika", "confirm=delivered", ("aio-pika",), "p50", at_most=1.3),
        Row("p99, one event at a time to RabbitMQ / aio-pika", "confirm=delivered", ("aio-pika",), "p99", at_most=1.3),
    ),
    quick_rounds=2,
    full_rounds=15,
    brokers=("rabbitmq",),
)

RECEIVING = Group(
    "receiving from RabbitMQ",
    (
        Leg("a handler", "receive_ours", 8_000, 40_000),
        Leg("aio-pika's loop", "receive_aio_pika", 3_000, 20_000, "peers", queues=1),
        Leg("FastStream", "receive_faststream", 2_000, 15_000, "peers", queues=1),
    ),
    (
        Row("a handler / aio-pika's consumer loop", "a handler", ("aio-pika's loop",), at_least=6),
        Row("a handler / FastStream", "a handler", ("FastStream",), at_least=1.5),
    ),
    quick_rounds=2,
    full_rounds=7,
    brokers=("rabbitmq",),
)

RECEIVING_KAFKA = Group(
    "receiving from Kafka",
    (
        Leg("a handler", "receive_ours", 20_000, 60_000, topics=1),
        Leg("aiokafka's loop", "receive_aiokafka", 20_000, 60_000, "peers", topics=1),
        Leg("FastStream", "receive_kafka_faststream", None, 15_000, "peers", topics=1),
        Leg("confluent-kafka's loop", "receive_kafka_confluent", 20_000, 60_000, "peers", topics=1),
    ),
    (
        Row("a handler / aiokafka's consumer loop", "a handler", ("aiokafka's loop",), at_least=0.7),
        Row("a handler / FastStream", "a handler", ("FastStream",), at_least=3),
        Row("a handler / confluent-kafka's consumer loop", "a handler", ("confluent-kafka's loop",), at_least=0.4),
    ),
    quick_rounds=2,
    full_rounds=7,
    brokers=("kafka",),
)

ALONE_1, TWO_1, ALONE_0, TWO_0 = "alone, 1 ms", "2 workers, 1 ms", "alone, trivial", "2 workers, trivial"
PROCESSES = Group(
    "processes",
    (
        Leg(ALONE_1, "processes_ours", 2_000, 10_000, options={"processes": 0, "burn": 1}),
        Leg(TWO_1, "processes_ours", 2_000, 10_000, options={"processes": 2, "burn": 1}),
        Leg(ALONE_0, "processes_ours", 15_000, 60_000, options={"processes": 0, "burn": 0}),
        Leg(TWO_0, "processes_ours", 15_000, 60_000, options={"processes": 2, "burn": 0}),
    ),
    (
        Row("2 workers / alone, 1 ms of CPU for each event", TWO_1, (ALONE_1,), at_least=1.7),
        Row("2 workers / alone, trivial handlers", TWO_0, (ALONE_0,), at_least=1.3),
    ),
    quick_rounds=1,
    full_rounds=5,
    brokers=("rabbitmq",),
)

ONE, HUNDRED = {"in_flight": 1}, {"in_flight": 100}
CALLS = Group(
    "calls",
    (
        Leg("100 at once", "rpc_ours", 5_000, 20_000, options=HUNDRED),
        Leg("aio-pika's pattern, 100", "rpc_aio_pika", 2_000, 8_000, "peers", options=HUNDRED),
        Leg("FastStream, 100", "rpc_faststream", 600, 2_000, "peers", options=HUNDRED),
        Leg("nameko, 100", "rpc_nameko", 1_000, 3_000, NAMEKO, options=HUNDRED),
        Leg("one at a time", "rpc_ours", 800, 2_000, options=ONE),
        Leg("aio-pika's pattern, one", "rpc_aio_pika", 800, 2_000, "peers", options=ONE),
        Leg("FastStream, one", "rpc_faststream", None, 1_000, "peers", options=ONE),
        Leg("nameko, one", "rpc_nameko", None, 1_000, NAMEKO, options=ONE),
    ),
    (
        Row("100 calls at once / aio-pika's pattern", "100 at once", ("aio-pika's pattern, 100",), at_least=4),
        Row("100 calls at once / FastStream", "100 at once", ("FastStream, 100",), at_least=2),
        Row("100 calls at once / nameko", "100 at once", ("nameko, 100",), at_least=2),
        Row("p50, 100 at once / aio-pika's pattern", "100 at once", ("aio-pika's pattern, 100",), "p50"),
        Row("p99, 100 at once / aio-pika's pattern", "100 at once", ("aio-pika's pattern, 100",), "p99"),
        Row("p50, one / aio-pika's pattern", "one at a time", ("aio-pika's pattern, one",), "p50", at_most=1.2),
        Row("p99, one / aio-pika's pattern", "one at a time", ("aio-pika's pattern, one",), "p99", at_most=1.2),
        Row("p50, one / FastStream", "one at a time", ("FastStream, one",), "p50"),
        Row("p50, one / nameko", "one at a time", ("nameko, one",), "p50"),
    ),
    quick_rounds=1,
    full_rounds=5,
    brokers=("rabbitmq",),
)

ALONE, BESIDE = "memory, no durable profile", "memory, beside a durable profile"
DURABLE = Group(
    "durable",
    (
        Leg("await put", "memory_ours", 3_000, 10_000, options=AWAIT | {"durable": True}),
        Leg("SQLite, 1 row a commit", "sqlite_commits", 3_000, 10_000, options={"rows": 1}),
        Leg("await put, 100 tasks", "memory_ours", 20_000, 60_000, options=TASKS | {"durable": True}),
        Leg("SQLite, 100 rows a commit", "sqlite_commits", 50_000, 200_000, options={"rows": 100}),
        Leg(ALONE, "memory_ours", 100_000, 300_000, options=BOUND),
        Leg(BESIDE, "memory_ours", 100_000, 300_000, options=BOUND | {"beside": True}),
    ),
    (
        Row("one durable put, of one commit", "SQLite, 1 row a commit", ("await put",), at_most=2),
        Row("durable, 100 tasks / SQLite", "await put, 100 tasks", ("SQLite, 100 rows a commit",), at_least=0.4),
        Row("memory beside a durable profile / alone", BESIDE, (ALONE,), at_least=0.8),
    ),
    quick_rounds=2,
    full_rounds=7,
)

BY_PSYCOPG, BY_ASYNCPG, RELAY, TO_RABBITMQ = "put, psycopg", "put, asyncpg", "relay", "relay to RabbitMQ"
INBOX, BY_HAND = "handler with an inbox", "handler with a mark by hand"
LOOP, HELD, FLOW, PUTS = "select and delete", "relay, a snapshot is held", "relay, ten chunks", "put to RabbitMQ"
POSTGRES = Group(
    "PostgreSQL",
    (
        Leg(BY_PSYCOPG, "postgres_put", 1_000, 5_000, options={"library": "psycopg"}),
        Leg(BY_ASYNCPG, "postgres_put", 1_000, 5_000, options={"library": "asyncpg"}),
        Leg(LOOP, "postgres_bare", 50_000, 400_000),
        Leg(RELAY, "postgres_relay", 50_000, 400_000),
        Leg(HELD, "postgres_relay", 50_000, 400_000, options={"held": True}),
        Leg(PUTS, "deliver_ours", 25_000, 60_000, queues=1),
        Leg(TO_RABBITMQ, "postgres_relay", 25_000, 60_000, queues=1),
        Leg(FLOW, "postgres_relay", None, 10_000_000, options={"chunk": 50_000}),
        Leg(INBOX, "postgres_inbox", 2_000, 10_000, options={"way": "inbox"}),
        Leg(BY_HAND, "postgres_inbox", 2_000, 10_000, options={"way": "by hand"}),
    ),
    (
        Row("put within a transaction, of an INSERT's time, psycopg", BY_PSYCOPG, (), "ratio", at_most=1.3),
        Row("put within a transaction, of an INSERT's time, asyncpg", BY_ASYNCPG, (), "ratio", at_most=1.3),
        Row("relay to memory / a loop that selects and deletes", RELAY, (LOOP,), at_least=0.5),
        Row("relay while a snapshot is held / relay", HELD, (RELAY,), at_least=0.5),
        Row("relay to RabbitMQ / put to RabbitMQ", TO_RABBITMQ, (PUTS,), at_least=0.8),
        Row("a handler with an inbox / with a mark written by hand", INBOX, (BY_HAND,), at_least=0.7),
        Row("megabytes of the table after all events, 50,000 at a time", FLOW, (), "megabytes", at_most=100),
    ),
    quick_rounds=1,
    full_rounds=3,
    brokers=("rabbitmq", "postgres"),
)

FEW, MANY, MANY_HIT = "10 profiles", "10,000 profiles", "10,000 profiles, 100 hit"
PROFILES = Group(
    "profiles",
    (
        Leg(FEW, "profiles_ours", 120_000, 400_000, options={"profiles": 10}),
        Leg(MANY, "profiles_ours", 120_000, 400_000, options={"profiles": 10_000}),
        Leg(MANY_HIT, "profiles_ours", 120_000, 400_000, options={"profiles": 10_000, "spread": True}),
        Leg("100 profiles, 100 hit", "profiles_ours", None, 400_000, options={"profiles": 100, "spread": True}),
    ),
    (
        Row("10,000 profiles / 10, the same lanes", MANY, (FEW,), at_least=0.95),
        Row("10,000 profiles / 10, a lane for each event profile", MANY_HIT, (FEW,), at_least=0.95),
        Row("10,000 profiles / 100, a lane for each event profile", MANY_HIT, ("100 profiles, 100 hit",)),
    ),
    quick_rounds=2,
    full_rounds=7,
)

START = Group(
    "start",
    (
        Leg("start", "start_ours", 0, 0),
        Leg("pop-evbus start", "start_pop_evbus", 0, 0, POP_ALONE),
    ),
    (
        Row("sub.add and start, in-memory profile / pop-evbus", "start", ("pop-evbus start",), "seconds", at_most=1.2),
        Row("client libraries imported", "start", (), "heavy", at_most=0),
    ),
    quick_rounds=3,
    full_rounds=15,
)

WATCHED = {"plain": {}, "port": {"port": True}, "scraped": {"scraped": True}, "telemetry": {"telemetry": True}}
BEING_SEEN = {
    "the HTTP port is open": ("port", 0.97),
    "/metrics is read every second": ("scraped", 0.97),
    "OpenTelemetry without an SDK": ("telemetry", 0.99),
}
METRICS = Group(
    "metrics",
    (
        *(Leg(f"memory, {how}", "memory_watched", None, 4_000_000, options=o) for how, o in WATCHED.items()),
        *(Leg(f"RabbitMQ, {how}", "deliver_ours", None, 150_000, queues=1, options=o) for how, o in WATCHED.items()),
        *(Leg(f"a handler, {how}", "receive_ours", None, 40_000, options=o) for how, o in WATCHED.items()),
    ),
    (
        Row("memory: another bus of the process / one", "memory, plain", (), "kept"),
        *(
            Row(f"memory: {title} / not, in turns", f"memory, {how}", (), "kept", at_least=least)
            for title, (how, least) in BEING_SEEN.items()
        ),
        *(
            Row(f"RabbitMQ: {title} / not", f"RabbitMQ, {how}", ("RabbitMQ, plain",), at_least=least)
            for title, (how, least) in BEING_SEEN.items()
        ),
        *(  # for a look: two such processes differ by a tenth
            Row(f"a handler: {title} / not", f"a handler, {how}", ("a handler, plain",))
            for title, (how, _) in BEING_SEEN.items()
        ),
    ),
    quick_rounds=1,
    full_rounds=5,
    brokers=("rabbitmq",),
)

BOUNDS = Group(
    "memory",
    (
        Leg("slow lane", "memory_bounds", 200_000, 1_000_000),
        Leg("slow lane, webhooks", "memory_bounds", 12_000, 60_000, options=WEBHOOKS | {"delay": 0.1}),
    ),
    (
        Row("most events queued, of the bounds", "slow lane", (), "filled", at_most=1.05),
        Row("growth once full", "slow lane", (), "growth", at_most=0.05),
        Row("bytes for a queued small event", "slow lane", (), "per_event", at_most=1024),
        Row("webhooks: MiB of the process above max_bytes", "slow lane, webhooks", (), "over", at_most=32),
    ),
    quick_rounds=1,
    full_rounds=3,
)

GROUPS = (
    MEMORY,
    MEMORY_WEBHOOKS,
    RABBITMQ,
    RABBITMQ_WEBHOOKS,
    KAFKA,
    KAFKA_WEBHOOKS,
    FAN_OUT,
    LATENCY,
    RECEIVING,
    RECEIVING_KAFKA,
    PROCESSES,
    CALLS,
    DURABLE,
    POSTGRES,
    PROFILES,
    START,
    METRICS,
    BOUNDS,
)
