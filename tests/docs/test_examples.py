"""Every example runs by itself and prints what it shows."""

import re
import sys

import pytest

from tests.docs.blocks import ROOT, matches, run

EXAMPLES = ROOT / "examples"
ACCOUNT = "put {}, accepted {}, delivered {}, spilled 0, dead-lettered 0, dropped 0, remaining 0"

# What each prints on stdout and stderr, in this order; `...` stands for anything.
IN_MEMORY = {
    "01_first_event.py": ['got b\'{"id":1,"paid":true}\'', ACCOUNT.format(1, 1, 1)],
    "02_credentials_file.py": [
        "...profile='audit.login' goes to ('internal:audit*',)",
        "...profile='nobody' goes to nobody",
        'users queue: b\'{"user":"ann"}\'',
        "audit queue: {'user': 'ann'}...",
    ],
    "05_error_callback/run.py": [
        "...failed: SerializeError: body.price cannot be serialized...",
        "...failed: EventTooLarge: the body is 111 bytes as json...",
        '...put by the callback: b\'{"routing_key":"orders","error":"SerializeError"}\'...',
        "...rejected 2, delivered 3",
    ],
    "06_own_ingress/run.py": [
        'heard orders {"id":0}...',
        ACCOUNT.format(3, 6, 6),
        "3 lines in the file",
        "profile jsonl:default: there is no option paht; did you mean 'path'?",
    ],
    "07_own_serializer/run.py": [
        "('internal:default', 'internal:d*')",
        'json b\'["ann",3,"9.90"]\'',
        "csv b'ann,3,9.90\\r\\n'",
        "refused: body is a dict; a line of CSV is made of a list",
        "...put 2, accepted 2, delivered 2, ..., rejected 1",
    ],
    "08_delivered_receipts.py": [
        "delivered: {'internal:orders': 'delivered', 'internal:order?': 'delivered'}",
        "...NotDelivered: no profile matches 'nobody', so nobody gets the event",
        "...NotDelivered: no confirmation within 1 s; the event stays queued. amqp:far away: retrying: cannot ...",
        "  still pending: ('amqp:far away',)",
        "...put 3, accepted 3, delivered 2, spilled 0, dead-lettered 0, dropped 0, remaining 1, unmatched 1",
    ],
    "09_put_from_threads.py": [
        "accepted for ('internal:default',)",
        ACCOUNT.format(202, 202, 202),
        "202 events; the first: before any loop",
        "thread a in its order: True",
        "thread b in its order: True",
    ],
    "10_log_queue.py": [
        "[INFO    ] the shop is open",
        "[WARNING ] the shop closes",
        "event: {'message': 'the shop is open', 'module': '10_log_queue', 'level': 'INFO', 'timestamp': '...'}",
        "event: {'message': 'the shop closes', ...",
        ACCOUNT.format(2, 2, 2),
    ],
    "11_declared_events/run.py": [
        "fired for ('internal:default',)",
        "auth.user_created: missing: username, born; unknown: user; it has username, born, plan",
        "auth.user_created: born: Invalid RFC3339 encoded date; plan must be str, not int",
        ACCOUNT.format(1, 1, 1),
        'on the wire: b\'{"username":"adam","born":"1990-05-01","plan":"free"}\'',
        "received: {'username': 'adam', 'born': datetime.date(1990, 5, 1), 'plan': 'free'}",
        'schema: {"type": "string", "format": "date"}',
    ],
    "12_handlers/run.py": [
        "handlers: 2",
        "...mail: shipped {'id': 1, 'attempt': 1}, because of an event: True",
        "...mail: shipped {'id': 2, 'attempt': 2}, because of an event: True",
        "mail.tell handled 2 retried 0",
        "shipping.ship handled 2 retried 1",
        ACCOUNT.format(4, 4, 4),
    ],
    "13_testing_handlers/run.py": ["...3 passed..."],
    "17_calls/run.py": [
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
    "19_transfer/run.py": [
        "stock: the chain began with order-7 for north",
        "{'charged': 'ann', 'item': 'tea', 'left': 6, 'asked by': 'front.order'}",
    ],
    "20_response_handlers/run.py": [
        "asked for 2 books",
        "...printed: alice - the answer to True",
        "failed: NoPaper too long 17",
    ],
    "21_middleware/run.py": [
        "...Refused: account.balance: show the token",
        "looked up: ann",
        "with the token, in cents: 700",
        "answered on the way: 500",
    ],
}


@pytest.mark.parametrize("example", IN_MEMORY)
def test_an_example_in_memory_prints_the_expected_output(example, tmp_path):
    ran = run([sys.executable, str(EXAMPLES / example)], tmp_path)
    assert ran.returncode == 0, ran.stdout
    assert matches(IN_MEMORY[example], ran.stdout), ran.stdout


def test_the_rabbitmq_example_reads_back_what_it_sent(rabbitmq, tmp_path):
    ran = run([sys.executable, str(EXAMPLES / "03_rabbitmq.py")], tmp_path, EVBUS_TEST_AMQP_URL=rabbitmq.url)
    assert ran.returncode == 0, ran.stdout
    shown = ["confirmed: {'amqp:default': 'delivered'}", "received: b'{\"id\":1}' orders.new application/json", "..."]
    assert matches([*shown, "headers: ['shop']", ACCOUNT.format(1, 1, 1)], ran.stdout), ran.stdout


def test_the_kafka_example_reads_back_what_it_sent(kafka, tmp_path):
    ran = run([sys.executable, str(EXAMPLES / "04_kafka.py")], tmp_path, EVBUS_TEST_KAFKA=kafka.bootstrap)
    assert ran.returncode == 0, ran.stdout
    shown = ["...confirmed: ['delivered']", "received: b'{\"id\":1}' key b'customer-7'", "..."]
    assert matches([*shown, "the event's id is a header: True", "delivered 1 of 1"], ran.stdout), ran.stdout


ON_RABBITMQ = {
    "14_workers/run.py": [
        "ann: prices {'page': 2}",
        "ben: prices {'page': 2}",
        "...: page 1",
        "...: page 2",
        "...: page 1, again",
        "the other one stopped with 0",
    ],
    "16_dead_letters/run.py": [
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
    ran = run([sys.executable, str(EXAMPLES / "15_rewind/run.py")], tmp_path, EVBUS_TEST_KAFKA=kafka.bootstrap)
    assert ran.returncode == 0, ran.stdout
    shown = ["...watch: {'account': 'ben', 'amount': 1}", "add_up: {'ann': 7, 'ben': 8}"]
    assert matches(shown, ran.stdout), ran.stdout


def test_the_example_of_calls_between_processes_prints_the_expected_output(rabbitmq, tmp_path):
    example = EXAMPLES / "18_calls_between_processes/run.py"
    ran = run([sys.executable, str(example)], tmp_path, EVBUS_TEST_AMQP_URL=rabbitmq.url)
    assert ran.returncode == 0, ran.stdout
    shown = ["...nobody serves 'far_mars': ...", "...hello, ann - from another process: True", "100 answers"]
    assert matches([*shown, "...served: 101 exit code 0..."], ran.stdout), ran.stdout


def test_every_example_is_listed_in_the_readme_and_tested():
    there = {str(path.relative_to(EXAMPLES)) for path in [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*/run.py")]}
    with_broker = {"03_rabbitmq.py", "04_kafka.py", "15_rewind/run.py", "18_calls_between_processes/run.py"}
    assert there == {*IN_MEMORY, *ON_RABBITMQ, *with_broker}
    listed = re.findall(r"\]\(([^)]+\.py)\)", (EXAMPLES / "README.md").read_text())
    assert set(listed) == there


def test_the_first_example_has_fewer_than_twenty_lines():
    assert len((EXAMPLES / "01_first_event.py").read_text().splitlines()) < 20
