"""The `evbus` command, run as a user runs it: what it prints, where, and how it exits."""

import asyncio
import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import launcher
from tests.integration.support import channel, create_topic, queue, read, take

EVBUS = [str(Path(sys.executable).with_name("evbus"))]
WEBHOOKS = Path(__file__).parents[2] / "evbus_like" / "data" / "github-webhooks.ndjson.gz"
DEADLINE = 90


async def evbus(*arguments, stdin=b"", **environment):
    """Run the command; gives its exit code, its standard output and its standard error."""
    options = {"stdin": stdin, "timeout": DEADLINE, "env": {**os.environ, **environment}}
    ran = await asyncio.to_thread(launcher.run, launcher.EVBUS, arguments, **options)
    return ran.returncode, ran.stdout.decode(), ran.stderr.decode()


async def test_the_demo_reads_all_329_webhooks_back():
    code, out, _ = await evbus("demo", "--json")

    result = json.loads(out)
    assert code == 0
    assert (result["events"], result["received"], result["equal"]) == (329, 329, 329)
    assert result["account"]["delivered"] == 329


async def test_a_signal_ends_the_demo_in_order_while_its_broker_is_away(credentials):
    path = credentials({"amqp": {"default": {"connection": {"url": "amqp://127.0.0.1:1/"}, "max_events": 100}}})
    process = await asyncio.create_subprocess_exec(
        *EVBUS, "demo", "--json", "--acct-file", path, "--timeout", str(DEADLINE),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(DEADLINE):
        while b"cannot be reached, 100 events" not in await process.stderr.readline():
            pass  # then its puts wait for room
        process.send_signal(signal.SIGTERM)
        out, err = await process.communicate()

    assert process.returncode == 128 + signal.SIGTERM
    assert json.loads(out)["account"]["delivered"] == 0
    assert err.decode().splitlines()[-1] == "evbus demo: ended by SIGTERM: 0 delivered, 100 not"


async def test_evbus_without_a_subcommand_shows_its_help():
    code, out, _ = await evbus()

    assert code == 2
    assert all(word in out for word in ("demo", "pipe", "check", "explain"))


@pytest.mark.parametrize("command", [["pipe"], ["check"], ["explain", "x"]])
async def test_missing_credentials_are_reported_in_one_line(command):
    code, _, err = await evbus(*command, ACCT_FILE="")

    assert code == 2
    assert "no credentials file" in err
    assert "Traceback" not in err


async def test_a_wrong_profile_stops_the_pipe_before_it_reads(credentials):
    path = credentials({"internal": {"default": {"routing_kee": "x"}}})

    code, out, err = await evbus("pipe", "--json", "--acct-file", path, stdin=b'{"body": 1}\n')

    assert code == 2
    assert "routing_kee; did you mean 'routing_key'?" in err
    assert json.loads(out)["kind"] == "ProfileError"


async def test_bad_lines_are_reported_and_the_others_are_sent(credentials, tmp_path):
    events = tmp_path / "events.ndjson"
    events.write_bytes(
        b'{"body": 1}\n\nnot json\n{"bodi": 1}\n[1]\n\xff\n{"body": 1e999}\n{"body": 18446744073709551616}\n'
    )
    path = credentials({"internal": {"default": None}})

    code, out, err = await evbus("pipe", "--json", "--acct-file", path, str(events), "-", stdin=b'{"body": 2}')

    account = json.loads(out)
    assert code == 1
    assert (account["read"], account["bad"], account["delivered"]) == (8, 6, 2)
    for number in (3, 4, 5, 6, 7, 8):
        assert f"{events}:{number}: " in err


async def test_an_event_that_matches_no_profile_gives_exit_code_one(credentials):
    path = credentials({"internal": {"orders": None}})

    code, out, err = await evbus("pipe", "--json", "--acct-file", path, stdin=b'{"body": 1}\n')

    assert code == 1
    assert json.loads(out)["unmatched"] == 1
    assert "no profile matches 'default'" in err


async def test_explain_says_which_profiles_match_and_why(credentials):
    path = credentials({"internal": {"orders*": None, "default": None}})

    code, out, _ = await evbus("explain", "orders.eu", "--json", "--acct-file", path)
    nobody, _, _ = await evbus("explain", "nobody", "--json", "--acct-file", path)

    profiles = {row["profile"]: row for row in json.loads(out)["profiles"]}
    assert (code, nobody) == (0, 1)
    assert profiles["internal:orders*"]["matches"]
    assert profiles["internal:default"]["why"] == "glob pattern 'default' does not match 'orders.eu'"


async def test_explain_reports_a_regex_that_takes_too_long(credentials):
    path = credentials({"internal": {"(a|a)*[bc]": None, ".*": None}})

    code, out, _ = await evbus("explain", "a" * 60, "--match-plugin", "regex", "--json", "--acct-file", path)

    profiles = {row["profile"]: row for row in json.loads(out)["profiles"]}
    assert code == 0
    assert not profiles["internal:(a|a)*[bc]"]["matches"]
    assert "simplify it" in profiles["internal:(a|a)*[bc]"]["why"]


async def test_check_reports_the_problem_of_each_profile_and_shows_no_secret(rabbitmq, kafka, credentials):
    address = rabbitmq.url.rpartition("@")[2]
    path = credentials(
        {
            "amqp": {
                "good": {"connection": {"url": rabbitmq.url}},
                "bad": {"connection": {"url": f"amqp://guest:hunter2@{address}"}},
            },
            "kafka": {"good": {"connection": {"bootstrap_servers": kafka.bootstrap}}},
            "nats": {"x": {}},
        }
    )

    code, out, err = await evbus("check", "--json", "--acct-file", path)

    rows = {row["profile"]: row for row in json.loads(out)}
    assert code == 1
    assert rows["amqp:good"]["ok"]
    assert rows["kafka:good"]["ok"]
    assert "refused the login of user 'guest'" in rows["amqp:bad"]["problem"]
    assert "no ingress plugin" in rows["nats"]["problem"]
    assert "hunter2" not in out + err


async def test_pipe_sends_the_webhooks_to_both_brokers(rabbitmq, kafka, credentials, fresh_name, tmp_path):
    webhooks = tmp_path / "webhooks.ndjson"
    webhooks.write_bytes(gzip.decompress(WEBHOOKS.read_bytes()))
    sent = [json.loads(line)["body"] for line in webhooks.read_text().splitlines()]
    await create_topic(kafka.bootstrap, fresh_name)
    path = credentials(
        {
            "amqp": {"default": {"connection": {"url": rabbitmq.url}, "routing_key": fresh_name}},
            "kafka": {
                "default": {"connection": {"bootstrap_servers": kafka.bootstrap}, "topics": [fresh_name], "key": "k"}
            },
        }
    )

    async with queue(rabbitmq.url, fresh_name) as made:
        code, out, _ = await evbus("pipe", "--json", str(webhooks), ACCT_FILE=path)
        messages = await take(made, 329)
    records = await read(kafka.bootstrap, fresh_name, 329)

    assert code == 0
    assert json.loads(out)["delivered"] == 658
    assert [json.loads(message.body) for message in messages] == sent
    assert [json.loads(record.value) for record in records] == sent


async def test_a_broker_restart_during_a_pipe_loses_no_event(rabbitmq, credentials, fresh_name):
    path = credentials({"amqp": {"default": {"connection": {"url": rabbitmq.url}, "routing_key": fresh_name}}})
    async with channel(rabbitmq.url) as opened:
        await opened.declare_queue(fresh_name, durable=True)
    process = await asyncio.create_subprocess_exec(
        *EVBUS, "pipe", "--json", "--acct-file", path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None

    async def feed(numbers):
        for number in numbers:
            process.stdin.write(b'{"body": %d}\n' % number)
            await process.stdin.drain()
            await asyncio.sleep(0.001)

    await feed(range(500))
    restarting = asyncio.create_task(asyncio.to_thread(rabbitmq.restart))
    await feed(range(500, 2000))
    await restarting
    process.stdin.close()
    out = await asyncio.wait_for(process.stdout.read(), DEADLINE)

    assert await process.wait() == 0
    assert json.loads(out)["delivered"] == 2000
    async with queue(rabbitmq.url, fresh_name) as made:
        first_seen = list(dict.fromkeys([int(m.body) for m in await take(made, made.declaration_result.message_count)]))
    assert first_seen == list(range(2000))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_on_a_signal_the_pipe_stops_reading_and_delivers_what_it_has_read(
    rabbitmq, credentials, fresh_name, number
):
    path = credentials({"amqp": {"default": {"connection": {"url": rabbitmq.url}, "routing_key": fresh_name}}})
    process = await asyncio.create_subprocess_exec(
        *EVBUS, "pipe", "--json", "--acct-file", path,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    async with queue(rabbitmq.url, fresh_name) as made:
        process.stdin.write(b'{"body": 1}\n')
        await take(made, 1)  # it reads; its input stays open

        process.send_signal(number)
        out, err = await asyncio.wait_for(process.communicate(), DEADLINE)

    assert process.returncode == 128 + number
    assert json.loads(out)["delivered"] == 1
    assert number.name in err.decode()
