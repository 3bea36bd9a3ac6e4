"""Every example runs by itself and prints what it shows."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.brokers.ports import free_port
from tests.docs.blocks import ROOT, environment, matches, run

EXAMPLES = ROOT / "examples"
PIGEON = "evbus-pigeon/evbus_pigeon/ingress/pigeon.py"  # tests/docs/test_plugins_page.py runs its tests
ACCOUNT = "put {}, accepted {}, delivered {}, spilled 0, dead-lettered 0, dropped 0, remaining 0"

# What each prints on stdout and stderr, in this order; `...` stands for anything.
IN_MEMORY = {
    "first_event.py": ['got b\'{"id":1,"paid":true}\'', ACCOUNT.format(1, 1, 1)],
    "credentials_file.py": [
        "...profile='audit.login' goes to ('internal:audit*',)",
        "...profile='nobody' goes to nobody",
        'users queue: b\'{"user":"ann"}\'',
        "audit queue: {'user': 'ann'}...",
    ],
    "error_callback/run.py": [
        "...failed: SerializeError: body.price cannot be serialized...",
        "...failed: EventTooLarge: the body is 111 bytes as json...",
        '...put by the callback: b\'{"routing_key":"orders","error":"SerializeError"}\'...',
        "...rejected 2, delivered 3",
    ],
    "delivered_receipts.py": [
        "delivered: {'internal:orders': 'delivered', 'internal:order?': 'delivered'}",
        "...NotDelivered: no profile matches 'nobody', so nobody gets the event",
        "...NotDelivered: no confirmation within 1 s; the event stays queued. amqp:far away: retrying: cannot ...",
        "  still pending: ('amqp:far away',)",
        "...put 3, accepted 3, delivered 2, spilled 0, dead-lettered 0, dropped 0, remaining 1, unmatched 1",
    ],
    "put_from_threads.py": [
        "accepted for ('internal:default',)",
        ACCOUNT.format(202, 202, 202),
        "202 events; the first: before any loop",
        "thread a in its order: True",
        "thread b in its order: True",
    ],
    "log_queue.py": [
        "[INFO    ] the shop is open",
        "[WARNING ] the shop closes",
        "event: {'message': 'the shop is open', 'module': 'log_queue', 'level': 'INFO', 'timestamp': '...'}",
        "event: {'message': 'the shop closes', ...",
        ACCOUNT.format(2, 2, 2),
    ],
    "declared_events/run.py": [
        "fired for ('internal:default',)",
        "auth.user_created: missing: username, born; unknown: user; it has username, born, plan",
        "auth.user_created: born: Invalid RFC3339 encoded date; plan must be str, not int",
        ACCOUNT.format(1, 1, 1),
        'on the wire: b\'{"username":"adam","born":"1990-05-01","plan":"free"}\'',
        "received: {'username': 'adam', 'born': datetime.date(1990, 5, 1), 'plan': 'free'}",
        'schema: {"type": "string", "format": "date"}',
    ],
    "calls/run.py": [
        "services: 1",
        "{'said': ['hello, ann', 'hello, ann']}",
        "noted: no answer is wanted",
        "LATER",
        "FROM A THREAD",
        "100 answers, the last: 49.5",
        "...RemoteError: ZeroDivisionError - division by zero",
        "...IncorrectSignature: world.hello: missing a required argument: 'name'; it is world.hello(name, times=1)",
        "UnknownService: nobody serves 'mars': ...",
        "UnserializableValue: an argument of world.hello: body.args[0] cannot be serialized: ...",
    ],
    "transfer/run.py": [
        "stock: the chain began with order-7 for north",
        "{'charged': 'ann', 'item': 'tea', 'left': 6, 'asked by': 'front.order'}",
    ],
    "response_handlers/run.py": [
        "asked for 2 books",
        "...printed: alice - the answer to True",
        "failed: NoPaper too long 17",
    ],
    "middleware/run.py": [
        "...Refused: account.balance: show the token",
        "looked up: ann",
        "with the token, in cents: 700",
        "answered on the way: 500",
    ],
    "outage/run.py": [
        "tripped: its breaker is open: 2 of 2 calls failed within 60 s, the last with ConnectionError",
        "settled [1, 2], filtered 1, dead letters 1",
        "stored ['home', 'cart', 'home'], dead letters 1",
    ],
    "crash_test/run.py": [
        "billing.careless does harm if its process is killed",
        "  after the await at ...handler/billing.py:12: await hub.BANK.charge(order)",
        "  and the event is delivered again.",
        "  AssertionError: the bank has [7, 7]",
        "  put before the kill: nothing; after it: billing.paid",
        "billing.careful was killed at 7 points without harm:",
        "  before the await at ...handler/billing.py:21: await hub.BANK.charge(order, key=event.id)",
        "...",
    ],
    "reminder/run.py": [
        "order 7 is paid, its reminder cancelled: True",
        "29 minutes: 0 events are due",
        "order 8 is not paid: a reminder is sent",
        "30 minutes: 1 event was due",
    ],
    "lifespan/run.py": [
        "the database is open",
        "noted order 1",
        "noted order 2",
        "the database is closed, with 2 orders",
    ],
}


@pytest.mark.parametrize("example", IN_MEMORY)
def test_an_example_in_memory_prints_the_expected_output(example, tmp_path):
    ran = run([sys.executable, str(EXAMPLES / example)], tmp_path)
    assert ran.returncode == 0, ran.stdout
    assert matches(IN_MEMORY[example], ran.stdout), ran.stdout


def test_the_rabbitmq_example_reads_back_what_it_sent(rabbitmq, tmp_path):
    ran = run([sys.executable, str(EXAMPLES / "to_rabbitmq.py")], tmp_path, EVBUS_TEST_AMQP_URL=rabbitmq.url)
    assert ran.returncode == 0, ran.stdout
    shown = ["confirmed: {'amqp:default': 'delivered'}", "received: b'{\"id\":1}' orders.new application/json", "..."]
    assert matches([*shown, "headers: ['shop']", ACCOUNT.format(1, 1, 1)], ran.stdout), ran.stdout


def test_the_kafka_example_reads_back_what_it_sent(kafka, tmp_path):
    ran = run([sys.executable, str(EXAMPLES / "to_kafka.py")], tmp_path, EVBUS_TEST_KAFKA=kafka.bootstrap)
    assert ran.returncode == 0, ran.stdout
    shown = ["...confirmed: ['delivered']", "received: b'{\"id\":1}' key b'customer-7'", "..."]
    assert matches([*shown, "the event's id is a header: True", "delivered 1 of 1"], ran.stdout), ran.stdout


ON_RABBITMQ = {
    "workers/run.py": [
        "ann: prices {'page': 2}",
        "ben: prices {'page': 2}",
        "...: page 1",
        "...: page 2",
        "...: page 1, again",
        "the other one stopped with 0",
    ],
    "dead_letters/run.py": [
        "charged 5",
        "...CardRefused: 5000 is too much; retry in 0.1 s...",
        "set aside: given up after 2 attempts: CardRefused: 5000 is too much",
        "tried: 2 times",
        "charged 50",
    ],
}


@pytest.mark.parametrize("example", ON_RABBITMQ)
def test_an_example_of_handlers_on_rabbitmq_prints_the_expected_output(example, rabbitmq, tmp_path):
    ran = run([sys.executable, str(EXAMPLES / example)], tmp_path, EVBUS_TEST_AMQP_URL=rabbitmq.url)
    assert ran.returncode == 0, ran.stdout
    assert matches(ON_RABBITMQ[example], ran.stdout), ran.stdout


def test_the_example_of_a_new_handler_on_kafka_starts_with_the_oldest_record(kafka, tmp_path):
    ran = run([sys.executable, str(EXAMPLES / "rewind/run.py")], tmp_path, EVBUS_TEST_KAFKA=kafka.bootstrap)
    assert ran.returncode == 0, ran.stdout
    shown = ["...watch: {'account': 'ben', 'amount': 1}", "add_up: {'ann': 7, 'ben': 8}"]
    assert matches(shown, ran.stdout), ran.stdout


WEB = {
    "fastapi_shop": (["-m", "uvicorn", "main:app", "--port"], "fastapi uvicorn"),
    "flask_shop": (["-m", "flask", "--app", "main", "run", "--port"], "flask"),
}


@pytest.mark.parametrize("example", WEB)
def test_a_web_application_puts_an_event_for_each_order_and_delivers_it(example, tmp_path):
    arguments, needed = WEB[example]
    for name in needed.split():
        pytest.importorskip(name, reason=f"pip install {needed}")
    # Given the application, as a server runs it
    credentials = tmp_path / "credentials.yml"
    credentials.write_text("internal: {default: {routing_key: orders}}\n")
    credentials.chmod(0o600)
    port = free_port()
    command = [sys.executable, *arguments, str(port)]
    own = environment(ACCT_FILE=str(credentials))
    with subprocess.Popen(
        command, cwd=EXAMPLES / example, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        # When an order is placed, as soon as the server answers
        answer = order(port, server)
        server.send_signal(signal.SIGINT)
        out, _ = server.communicate(timeout=60)
    # Then it has an id, and the event was delivered before the end
    assert re.fullmatch(r"[0-9a-f]{20}-\d+", answer["id"])
    assert "events: put 1, accepted 1, delivered 1," in out


def test_a_web_application_stores_an_order_and_its_event_in_one_transaction_of_sqlalchemy(postgres, tmp_path):
    for name in ("fastapi", "uvicorn"):
        pytest.importorskip(name, reason=f"pip install {name}")
    # Given the application, its database, and a destination in memory
    shop = postgres.database()
    postgres.sql(run([sys.executable, "-m", "evbus_like", "db", "schema"], tmp_path).stdout, shop)
    credentials = tmp_path / "credentials.yml"
    connection = {"postgres": {"shop": {"connection": postgres.url(shop)}}}
    credentials.write_text(json.dumps({"internal": {"default": {"routing_key": "orders"}}, **connection}))
    credentials.chmod(0o600)
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "main:app", "--port", str(port)]
    own = environment(ACCT_FILE=str(credentials), DATABASE_URL=postgres.url(shop))
    with subprocess.Popen(
        command, cwd=EXAMPLES / "fastapi_outbox", env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        # When an order is placed, one is rolled back, and the first is paid
        try:
            assert order(port, server, status=201) == {"id": 1}
            with pytest.raises(urllib.error.HTTPError, match="422"):
                order(port, server, b'{"item": "nothing"}')
            paid = urllib.request.Request(f"http://127.0.0.1:{port}/orders/1/paid", b"", method="POST")
            with urllib.request.urlopen(paid, timeout=30) as answer:
                assert json.load(answer) == {"paid": True}
            until = time.monotonic() + 30
            while postgres.sql("select count(*) from evbus_outbox", shop) != "0\n" and time.monotonic() < until:
                time.sleep(0.05)
        finally:
            server.send_signal(signal.SIGINT)
            out, _ = server.communicate(timeout=60)
    # Then two events were delivered, and there is one order
    assert "events: put 2, accepted 2, delivered 2," in out
    assert postgres.sql("select item, paid from orders", shop) == "tea|t\n"


def order(port, server, body=b'{"item": "tea"}', status=202):
    """Place an order, and give the answer."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/orders", body, {"content-type": "application/json"})
    until = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                assert answer.status == status
                return json.load(answer)
        except urllib.error.HTTPError:
            raise
        except urllib.error.URLError:
            assert server.poll() is None, server.stdout.read()
            assert time.monotonic() < until
            time.sleep(0.1)


def test_the_example_of_an_outbox_in_the_database_loses_no_event_of_a_crash(postgres, tmp_path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"EVBUS_TEST_POSTGRES": postgres.url(), "PATH": path}
    ran = run([sys.executable, str(EXAMPLES / "outbox/run.py")], tmp_path, **own)
    assert ran.returncode == 0, ran.stdout
    shown = [
        "commit: exit code 0",
        "rollback: exit code 0",
        "crash before the commit: exit code -9",
        "crash after the commit: exit code -9",
        "orders: ['commit', 'crash after the commit']",
        """events: [b'{"what":"commit"}', b'{"what":"crash after the commit"}']""",
        "waiting: 0",
    ]
    assert matches(shown, ran.stdout), ran.stdout


def test_every_example_is_listed_in_the_readme_and_tested():
    there = {str(path.relative_to(EXAMPLES)) for path in [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*/run.py")]}
    with_broker = {"to_rabbitmq.py", "to_kafka.py", "rewind/run.py", "outbox/run.py"}
    assert there == {*IN_MEMORY, *ON_RABBITMQ, *with_broker}
    listed = re.findall(r"\]\(([^)]+\.py)\)", (EXAMPLES / "README.md").read_text())
    assert set(listed) >= there
    assert set(listed) - there == {"fastapi_shop/main.py", "fastapi_outbox/main.py", "flask_shop/main.py", PIGEON}


def test_the_first_example_has_fewer_than_twenty_lines():
    assert len((EXAMPLES / "first_event.py").read_text().splitlines()) < 20
