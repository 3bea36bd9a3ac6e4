"""`evbus outbox` and `evbus dead`, run as a user runs them, on real outbox files."""

import asyncio
import base64
import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evbus_like.engine.event import Event
from evbus_like.engine.outbox import Outbox, inspect
from tests import launcher
from tests.unit.outboxes import append_one, pending_events

EVBUS = [str(Path(sys.executable).with_name("evbus"))]
JSONL = Path(__file__).parent / "apps" / "appends"  # a plugin that appends to a file
DEADLINE = 60
HERE = "jsonl:here"
OURS = ("--at", "outbox")  # without the dead letters of handlers, which are at brokers


def make(body=b"{}", **changes):
    """A serialized event."""
    event = Event(changes.pop("routing_key", "orders.new"), body, changes.pop("profile", "orders"))
    event.content_type = "application/json"
    event.timestamp = time.time() - 7300
    for name, value in changes.items():
        setattr(event, name, value)
    return event


@pytest.fixture
def box(tmp_path):
    """The path of an outbox file that does not exist yet."""
    return tmp_path / "state" / "outbox.sqlite"


@pytest.fixture
def out(tmp_path):
    """The file that the destination jsonl:here appends to."""
    return tmp_path / "out.jsonl"


@pytest.fixture
def acct(credentials, out):
    """A credentials file with the profile jsonl:here."""
    return credentials({"jsonl": {"here": {"path": str(out)}}})


@pytest.fixture
def doing(tmp_path):
    """Write a plugin, doing, whose destination runs one line of code; gives the folder for PYTHONPATH."""

    def make_it(line):
        plugin = tmp_path / "plugins" / "doing"
        (plugin / "ingress").mkdir(parents=True)
        (plugin / "conf.py").write_text('DYNE = {"ingress": ["ingress"]}\n')
        (plugin / "ingress" / "doing.py").write_text(
            "import asyncio\n\nfrom evbus_like.engine import errors\n\nACCT = ['doing']\n\n\n"
            f"async def publish_batch(hub, ctx, events):\n    {line}\n"
        )
        return str(plugin.parent)

    return make_it


async def fill(path, waiting=(), dead=()):
    """Create an outbox: `waiting` are (event, destination), `dead` are (event, destination, reason)."""
    made = Outbox(path)
    made.open()
    for event, destination in waiting:
        await append_one(made, event, [destination])
    for event, destination, reason in dead:
        await made.dead_letter_event(destination, event, reason, "PoisonEvent", 3, time.time() - 90)
    await made.close()


async def age(path, number, seconds):
    """Make a dead letter older, by its age in seconds."""
    connection = sqlite3.connect(path)
    connection.execute("UPDATE dead SET died = ? WHERE number = ?", (time.time() - seconds, number))
    connection.commit()
    connection.close()


def environment(path, **more):
    """The environment of the command: an outbox, no credentials, and the example's plugin."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("ACCT_", "EVBUS_"))}
    named = {"EVBUS_OUTBOX": str(path)} if path else {}
    return {**own, **named, "PYTHONPATH": str(JSONL), "COLUMNS": "200", **more}


async def evbus(path, *arguments, **more):
    """Run the command on an outbox; gives its exit code, its standard output and its standard error."""
    options = {"timeout": DEADLINE, "env": environment(path, **more)}
    ran = await asyncio.to_thread(launcher.run, launcher.EVBUS, [*map(str, arguments)], **options)
    assert b"Traceback" not in ran.stderr, ran.stderr.decode()
    return ran.returncode, ran.stdout.decode(), ran.stderr.decode()


async def evbus_json(path, *arguments):
    """Run the command with --json; gives its exit code and the document."""
    code, out, _ = await evbus(path, *arguments, "--json")
    return code, json.loads(out)


def pending(path, destination=HERE):
    """The bodies that wait for a destination."""
    return [event.body for event in pending_events(path, destination)]


def numbers(path):
    """The numbers of the dead letters in a file."""
    return [dead_letter.number for dead_letter in inspect.dead_letters(path)]


def sent(out):
    """The bodies that the destination jsonl:here got."""
    return [json.loads(line)["body"] for line in out.read_text().splitlines()]


# ---- outbox ls


async def test_ls_shows_how_much_waits_for_each_destination_and_for_how_long(box):
    await fill(box, [(make(b"1"), HERE), (make(b"22"), HERE), (make(), "amqp:x")], [(make(), "kafka:y", "no")])

    code, document = await evbus_json(box, "outbox", "ls")
    _, text, _ = await evbus(box, "outbox", "ls")

    rows = {row["destination"]: row for row in document["destinations"]}
    assert code == 0
    assert (document["path"], document["exists"], document["holder"]) == (str(box), True, None)
    assert (document["waiting"], document["dead"]) == (3, 1)
    assert document["file_bytes"] == box.stat().st_size
    assert (rows[HERE]["waiting"], rows["amqp:x"]["waiting"], rows["kafka:y"]["waiting"]) == (2, 1, 0)
    assert rows["kafka:y"]["dead"] == 1
    assert rows[HERE]["bytes"] > 2 * rows["amqp:x"]["bytes"] - 10
    assert rows[HERE]["oldest"] == pytest.approx(time.time() - 7300, abs=DEADLINE)
    assert rows[HERE]["profile"] is None
    assert "2 h" in text
    assert "no process" in text
    assert str(box) in text


async def test_ls_shows_which_destinations_no_longer_have_a_profile(box, acct):
    await fill(box, [(make(), HERE), (make(), "jsonl:old")])

    code, document = await evbus_json(box, "outbox", "ls", "--acct-file", acct)
    _, text, _ = await evbus(box, "outbox", "ls", "--acct-file", acct)

    rows = {row["destination"]: row["profile"] for row in document["destinations"]}
    assert code == 0
    assert rows == {HERE: "there", "jsonl:old": "gone"}
    assert "its events are kept until one has it again" in text


async def test_ls_works_without_readable_credentials_and_says_so(box, tmp_path):
    await fill(box, [(make(), HERE)])

    code, text, err = await evbus(box, "outbox", "ls", "--acct-file", tmp_path / "none.yml")

    assert code == 1
    assert HERE in text
    assert "profiles are not shown: credentials file" in err


async def test_while_a_bus_runs_reading_commands_work_and_changing_ones_name_its_pid(box, acct):
    await fill(box, [(make(), HERE)], [(make(), HERE, "no")])
    bus = Outbox(box)
    bus.open()
    try:
        _, document = await evbus_json(box, "outbox", "ls")
        _, text, _ = await evbus(box, "outbox", "ls")
        listed, dead_letters = await evbus_json(box, "dead", "ls", *OURS)
        shown, _, _ = await evbus(box, "dead", "show", 1)
        refused = [
            await evbus(box, "outbox", "flush", "--acct-file", acct),
            await evbus(box, "dead", "replay", 1),
            await evbus(box, "dead", "replay", 1, "--send", "--acct-file", acct),
            await evbus(box, "dead", "purge", 1),
            await evbus(box, "dead", "purge", "--all", "--yes", *OURS),
        ]
    finally:
        await bus.close()

    assert document["holder"] == os.getpid()
    assert f"process {os.getpid()}" in text
    assert (listed, shown, len(dead_letters["dead_letters"])) == (0, 0, 1)
    for code, _, err in refused:
        assert code == 2
        assert f"in use by process {os.getpid()}" in err
        assert "Stop that process, run this again" in err
    assert (len(pending(box)), numbers(box)) == (1, [1])


async def test_a_missing_outbox_is_reported_in_one_sentence_and_not_created(box, acct):
    nothing = f"there is no outbox at {box}, so there are no waiting events and no dead letters\n"
    looked = f"no dead letters match the filters in what was looked at: outbox {box}\n"
    for command, said in (
        (["outbox", "ls"], nothing),
        (["dead", "ls", *OURS], looked),
        (["outbox", "flush", "--acct-file", acct], nothing),
    ):
        code, text, err = await evbus(box, *command)
        assert (code, text, err) == (0, said, "")
        code, document = await evbus_json(box, *command)
        assert (code, document["exists"]) == (0, False)
    for command in (["show", 3], ["replay", 3], ["purge", 3, "--yes"]):
        code, _, err = await evbus(box, "dead", *command)
        assert code == 1
        assert "there is no" in err
    assert not box.parent.exists()


@pytest.mark.parametrize(
    "command", [["outbox", "ls"], ["dead", "ls"], ["dead", "show", 1], ["dead", "replay", "--all"]]
)
async def test_a_damaged_outbox_is_reported_with_advice_and_left_unchanged(box, command):
    await fill(box, [(make(b"x" * 9000), HERE)], [(make(), HERE, "no")])
    garbage = os.urandom(4096)
    with box.open("r+b") as file:
        file.write(garbage)

    code, out, err = await evbus(box, *command)

    assert (code, out) == (2, "")
    assert f"the outbox {box} is damaged (" in err
    assert "Start the bus: it keeps the file under another name" in err
    assert box.read_bytes().startswith(garbage)


async def test_a_damaged_page_in_the_middle_gives_no_traceback(box):
    await fill(box, [(make(b"x" * 300), HERE) for _ in range(200)])
    with box.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(box.stat().st_size - 4096))

    code, _, err = await evbus(box, "outbox", "ls")

    assert code == 2
    assert "is damaged" in err


async def test_damaged_headers_give_no_traceback(box):
    await fill(box, dead=[(make(headers={"a": 1}), HERE, "no")])
    connection = sqlite3.connect(box)
    connection.execute("UPDATE dead SET headers = x'c1'")
    connection.commit()
    connection.close()

    code, _, err = await evbus(box, "dead", "ls")

    assert code == 2
    assert "is damaged" in err


async def test_a_file_that_is_not_an_outbox_is_reported_as_such(box, tmp_path):
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE theirs (a)")
    other.commit()
    other.close()

    foreign = await evbus(box, "outbox", "ls", "--outbox", tmp_path / "other.db")
    folder = await evbus(box, "dead", "ls", "--outbox", tmp_path)
    endless = await evbus(box, "dead", "ls", "--outbox", tmp_path / ("x" * 300))

    assert foreign[0] == folder[0] == endless[0] == 2
    assert "is an SQLite database of another program" in foreign[2]
    assert "is a folder" in folder[2]
    assert all("(command-line option --outbox-path or --outbox)" in each[2] for each in (foreign, folder, endless))
    assert "cannot be read" in endless[2]


async def test_the_outbox_is_found_by_option_setting_environment_and_default(tmp_path):
    places = {name: tmp_path / name / "box.sqlite" for name in ("option", "file", "environment")}
    places["default"] = tmp_path / "xdg" / "evbus_like" / "outbox.sqlite"
    for name, path in places.items():
        await fill(path, [(make(), f"{name}:x")])
    config = tmp_path / "config.yml"
    config.write_text(json.dumps({"evbus_like": {"outbox_path": str(places["file"])}}))

    async def found(*arguments, **more):
        more = {"XDG_STATE_HOME": str(tmp_path / "xdg"), **more}
        code, text, _ = await evbus(None, "outbox", "ls", "--json", *arguments, **more)
        assert code == 0
        return json.loads(text)["destinations"][0]["destination"]

    named = {"EVBUS_OUTBOX": str(places["environment"])}
    assert await found() == "default:x"
    assert await found("--config", config) == "file:x"
    assert await found(**named) == "environment:x"
    assert await found("--outbox", places["option"], **named) == "option:x"
    assert await found("--outbox-path", places["option"]) == "option:x"


# ---- outbox flush


async def test_flush_sends_waiting_events_in_order_with_the_same_ids_and_ends(box, acct, out):
    events = [make(b"%d" % number) for number in range(3000)]
    await fill(box, [(event, HERE) for event in events])

    code, text, _ = await evbus(box, "outbox", "flush", "--acct-file", acct)

    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert code == 0
    assert [line["id"] for line in lines] == [event.id for event in events]
    assert "3000 events sent" in text
    assert f"left in the outbox {box}: nothing" in text
    assert inspect.summarize(box).waiting == {}


async def test_flush_reports_events_left_for_destinations_without_a_profile(box, acct, out):
    await fill(box, [(make(b"1"), HERE), (make(b"2"), "jsonl:old")])

    code, document = await evbus_json(box, "outbox", "flush", "--acct-file", acct)

    assert code == 1
    assert sent(out) == ["1"]
    assert document["left"] == {"jsonl:old": 1}
    assert document["account"]["delivered"] == 1


async def test_flush_gives_up_on_an_unreachable_destination_and_keeps_its_events(box, credentials, tmp_path):
    acct = credentials({"jsonl": {"here": {"path": str(tmp_path / "no" / "such" / "folder")}}})
    await fill(box, [(make(), HERE)])

    begun = time.monotonic()
    code, text, _ = await evbus(box, "outbox", "flush", "--acct-file", acct, "--timeout", "1")

    assert code == 1
    assert f"1 for {HERE}" in text
    assert "No such file" in text
    assert time.monotonic() - begun < 15
    assert len(pending(box)) == 1


async def test_flush_does_not_wait_for_a_destination_that_refuses(box, credentials, doing):
    plugins = doing("raise errors.DestinationRefused('no right')")
    acct = credentials({"doing": {"x": {}}})
    await fill(box, [(make(), "doing:x")])

    begun = time.monotonic()
    code, text, _ = await evbus(box, "outbox", "flush", "--acct-file", acct, PYTHONPATH=plugins)

    assert code == 1
    assert "no right" in text
    assert time.monotonic() - begun < 25  # the timeout is 30
    assert len(pending(box, "doing:x")) == 1


async def test_flush_continues_as_long_as_events_are_being_sent(box, credentials, doing):
    plugins = doing("await asyncio.sleep(0.5)")
    acct = credentials({"doing": {"x": {"batch_events": 1}}})
    await fill(box, [(make(), "doing:x") for _ in range(8)])

    code, text, _ = await evbus(box, "outbox", "flush", "--timeout", 1, "--acct-file", acct, PYTHONPATH=plugins)

    assert code == 0
    assert "8 events sent" in text


async def test_flush_keeps_events_for_memory_because_they_would_be_lost(box, credentials):
    acct = credentials({"internal": {"default": None}})
    await fill(box, [(make(), "internal:default")])

    code, _, err = await evbus(box, "outbox", "flush", "--acct-file", acct)

    assert code == 1
    assert "internal:default is skipped" in err
    assert len(pending(box, "internal:default")) == 1


async def test_a_flush_that_dead_letters_events_gives_exit_code_one(box, credentials, doing):
    plugins = doing("raise errors.PoisonEvent('too large')")
    acct = credentials({"doing": {"x": {}}})
    await fill(box, [(make(), "doing:x")])

    code, text, _ = await evbus(box, "outbox", "flush", "--acct-file", acct, PYTHONPATH=plugins)

    assert code == 1
    assert "dead-lettered: 1; see evbus dead ls" in text
    assert numbers(box) == [1]


@pytest.mark.parametrize(
    ("data", "kind"), [(None, "CredentialsError"), ({"jsonl": {"here": {"pth": "x"}}}, "ProfileError")]
)
async def test_a_bus_that_cannot_start_changes_nothing_in_the_outbox(box, credentials, data, kind):
    more = ["--acct-file", credentials(data)] if data else []
    await fill(box, [(make(), HERE)], [(make(), HERE, "no")])

    for command in (["outbox", "flush"], ["dead", "replay", 1, "--send"]):
        code, document = await evbus_json(box, *command, *more)
        assert code == 2
        assert document["kind"] == kind
    assert (len(pending(box)), numbers(box)) == (1, [1])


async def test_a_signal_ends_a_flush_and_the_remaining_events_are_kept(box, credentials, tmp_path):
    acct = credentials({"jsonl": {"here": {"path": str(tmp_path / "no" / "folder")}}})
    await fill(box, [(make(), HERE)])
    process = await asyncio.create_subprocess_exec(
        *EVBUS, "outbox", "flush", "--acct-file", acct,
        env=environment(box), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(DEADLINE):
        while b"cannot be reached" not in await process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        text, err = await process.communicate()

    assert process.returncode == 128 + signal.SIGTERM
    assert "ended by SIGTERM" in err.decode()
    assert f"1 for {HERE}" in text.decode()
    assert len(pending(box)) == 1


# ---- dead ls, dead show


async def many_dead(path):
    """Five dead letters that differ in all that can be filtered."""
    await fill(
        path,
        dead=[
            (make(routing_key="orders.eu.new"), "amqp:a", "No queue is bound"),
            (make(routing_key="orders.us", profile="orders.us"), "amqp:a", "too large"),
            (make(routing_key="users"), "kafka:b", "topic 'x' does not exist"),
            (make(routing_key="orders.eu.sold"), "kafka:b", "no queue"),
            (make(routing_key=""), "amqp:a", "refused"),
        ],
    )
    await age(path, 4, 4 * 86400)
    await age(path, 5, 3 * 3600)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], [1, 2, 3, 4, 5]),
        (["--destination", "kafka:b"], [3, 4]),
        (["--profile", "orders.us"], [2]),
        (["--routing-key", "orders.*"], [1, 2, 4]),
        (["--routing-key", "orders.??"], [2]),
        (["--reason", "QUEUE"], [1, 4]),
        (["--older-than", "2h"], [4, 5]),
        (["--older-than", "3d"], [4]),
        (["--older-than", "90m", "--destination", "amqp:a"], [5]),
        (["--limit", "2"], [1, 2]),
        (["--limit", "1", "--destination", "kafka:b"], [3]),
        (["--destination", "nobody"], []),
    ],
)
async def test_the_filters_of_ls_and_purge_select_the_same_dead_letters(box, filters, expected):
    await many_dead(box)

    code, document = await evbus_json(box, "dead", "ls", *filters, *OURS)
    purging, purged = await evbus_json(box, "dead", "purge", "--all", "--yes", *filters, *OURS)

    assert (code, purging) == (0, 0)
    assert [dead_letter["number"] for dead_letter in document["dead_letters"]] == expected
    assert document["more"] is ("--limit" in filters)
    assert (purged["purged"], purged["missing"], purged["failed"]) == (len(expected), [], {})
    assert numbers(box) == [number for number in (1, 2, 3, 4, 5) if number not in expected]


async def test_ls_escapes_control_characters_and_markup_in_its_table(box):
    await fill(box, dead=[(make(routing_key="\x1b[31mred", profile="[bold]x"), HERE, "line one\nline two")])

    code, text, _ = await evbus(box, "dead", "ls", "--each", *OURS)
    empty, nothing, _ = await evbus(box, "dead", "ls", "--reason", "else", *OURS)

    assert (code, empty) == (0, 0)
    assert "\x1b" not in text
    assert "\\x1b[31mred" in text
    assert "[bold]x" in text
    assert "line one\\nline two" in text
    assert "no dead letters match the filters" in nothing


async def test_show_prints_everything(box):
    body = b'{"id": 7, "price": 1.10, "price": 2, "big": 123456789012345678901234567890, "o": {"a": [1, {}]}}'
    event = make(body, headers={"shop": "north", "n": 3}, key="k7")
    await fill(box, dead=[(event, HERE, "no queue")])

    code, text, _ = await evbus(box, "dead", "show", 1)

    words = ["no queue", "PoisonEvent", HERE, event.id, "orders.new", "'north'", "k7", "application/json"]
    assert code == 0
    assert re.search(r"\d+ (s|min) ago", text)
    assert [word for word in words if word not in text] == []
    assert "attempts:     3" in text
    shown = text.partition("shown as JSON):\n")[2]
    assert shown.startswith('{\n  "id": 7,\n  "price": 1.10,\n  "price": 2,\n  "big": 123456789012345678901234567890,')
    assert json.loads(shown) == json.loads(body)


async def test_show_prints_bodies_that_are_not_json_as_text_or_base64(box):
    binary = b"\x82\xa2id\xff\x00"
    await fill(box, dead=[(make("Grüße\nan alle".encode()), HERE, "a"), (make(binary), HERE, "b")])
    await fill(box, dead=[(make(b"a\x1b[2Jb"), HERE, "c")])

    _, text, _ = await evbus(box, "dead", "show", 1)
    _, encoded, _ = await evbus(box, "dead", "show", 2)
    _, escape, _ = await evbus(box, "dead", "show", 3)
    _, first = await evbus_json(box, "dead", "show", 1)
    _, second = await evbus_json(box, "dead", "show", 2)

    assert text.endswith("shown as text):\nGrüße\nan alle\n")
    assert encoded.endswith(f"shown as base64):\n{base64.b64encode(binary).decode()}\n")
    assert "\x1b" not in escape
    assert (first["body"], first["encoding"]) == ("Grüße\nan alle", "utf-8")
    assert (base64.b64decode(second["body"]), second["encoding"]) == (binary, "base64")


async def test_show_with_json_encodes_binary_keys_and_headers(box):
    await fill(box, dead=[(make(headers={"b": b"\xff", "f": float("nan"), "t": True}, key=b"\x00"), HERE, "no")])

    code, document = await evbus_json(box, "dead", "show", 1)

    assert code == 0
    assert document["headers"] == {"b": {"base64": "/w=="}, "f": "nan", "t": True}
    assert document["key"] == {"base64": "AA=="}
    assert document["first_failed"] < document["died"]


async def test_show_raw_writes_only_the_bytes_of_the_body(box):
    body = bytes(range(256)) * 1000
    await fill(box, dead=[(make(body), HERE, "no")])

    process = await asyncio.create_subprocess_exec(
        *EVBUS, "dead", "show", "1", "--raw", env=environment(box), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(DEADLINE):
        out, err = await process.communicate()

    assert (process.returncode, out, err) == (0, body, b"")


@pytest.mark.parametrize("number", [7, 0, 2**63, 10**30])
async def test_a_missing_number_is_reported_in_one_sentence(box, number):
    await fill(box, dead=[(make(), HERE, "no")])

    code, out, err = await evbus(box, "dead", "show", number)
    raw, nothing, _ = await evbus(box, "dead", "show", number, "--raw")
    again, document = await evbus_json(box, "dead", "show", number)
    replaying, _, refused = await evbus(box, "dead", "replay", number)

    assert (code, raw, again, replaying) == (1, 1, 1, 1)
    assert (out, nothing) == ("", "")
    assert err == f"evbus dead: there is no dead letter {number} in {box}\n"
    assert f"there is no dead letter {number}" in refused
    assert document["kind"] == "NotFound"


# ---- what waits: set aside, and deleted


async def test_what_waits_for_a_destination_is_set_aside_and_replayed_elsewhere_or_deleted(box):
    waiting = [(make(b"%d" % number), name) for number in range(3) for name in (HERE, "amqp:old", "amqp:older")]
    await fill(box, waiting)

    code, document = await evbus_json(box, "outbox", "set-aside", "amqp:old", "amqp:none")
    refused, _, err = await evbus(box, "outbox", "discard", "amqp:older")
    done, text, _ = await evbus(box, "outbox", "discard", "amqp:older", "--yes")
    again, replayed = await evbus_json(box, "dead", "replay", "--all", "--destination", "amqp:old", "--to", HERE)

    assert (code, document["done"], document["missing"]) == (1, {"amqp:old": 3}, ["amqp:none"])
    assert (refused, "to delete 3 events for good (amqp:older 3), add --yes" in err) == (2, True)
    assert (done, text) == (0, "3 events for amqp:older deleted\n")
    assert (again, replayed["replayed"]) == (0, 3)
    assert inspect.summarize(box).waiting == {HERE: 6}
    assert pending(box) == [b"0", b"1", b"2"] * 2


async def test_a_signal_ends_set_aside_after_a_part_and_the_rest_waits(box):
    await fill(box)
    filled = Outbox(box)
    filled.open()
    events = [(make(b"x"), (HERE,)) for _ in range(30_000)]
    for at in range(0, len(events), 1000):
        await filled.append(events[at : at + 1000])
    await filled.close()
    process = await asyncio.create_subprocess_exec(
        *EVBUS, "outbox", "set-aside", HERE, "amqp:none", "--json",
        env=environment(box), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(DEADLINE):
        while not inspect.summarize(box).dead:  # noqa: ASYNC110 - another process works on the file
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, err = await process.communicate()

    assert process.returncode in (1, 128 + signal.SIGTERM)  # 1 where it had ended by then
    done, found = json.loads(out)["done"][HERE], inspect.summarize(box)
    assert (found.dead, found.waiting.get(HERE, 0)) == (done, 30_000 - done)
    assert (b"ended by SIGTERM; the others wait" in err) == (process.returncode != 1)


# ---- dead replay


async def test_replay_requeues_dead_letters_with_the_same_ids_for_the_next_start(box, acct, out):
    events = [make(b"%d" % number) for number in range(3)]
    await fill(box, dead=[(event, HERE, "no") for event in events])

    code, text, err = await evbus(box, "dead", "replay", 3, 1)

    assert (code, err) == (0, "")
    assert f"replayed 2 dead letters: {HERE} 2" in text
    assert "evbus outbox flush" in text
    assert [event.id for event in pending_events(box, HERE)] == [events[0].id, events[2].id]
    assert numbers(box) == [2]
    assert not out.exists()


async def test_replay_with_send_sends_at_once(box, acct, out):
    await fill(box, [(make(b"9"), HERE)], [(make(b"1"), HERE, "no"), (make(b"2"), HERE, "no")])

    code, text, _ = await evbus(box, "dead", "replay", "--send", 2, "--acct-file", acct)

    assert code == 0
    assert sent(out) == ["9", "2"]
    assert "2 events sent" in text
    assert numbers(box) == [1]


async def test_replay_with_send_gives_exit_code_one_if_events_are_left(box, acct):
    await fill(box, dead=[(make(b"1"), HERE, "no"), (make(b"2"), "jsonl:old", "no")])

    code, document = await evbus_json(box, "dead", "replay", "--all", "--send", "--acct-file", acct)

    assert code == 1
    assert document["replayed"] == 2
    assert document["sent"]["left"] == {"jsonl:old": 1}
    assert document["sent"]["account"]["delivered"] == 1


async def test_replay_with_filters_is_not_limited_to_one_page(box):
    dead_letters = [(make(routing_key=f"{'a' if number % 2 else 'b'}.{number}"), HERE, "no") for number in range(2500)]
    await fill(box, dead=dead_letters)

    code, document = await evbus_json(box, "dead", "replay", "--all", "--routing-key", "a.*", *OURS)

    assert code == 0
    assert (document["replayed"], document["destinations"]) == (1250, {HERE: 1250})
    assert inspect.summarize(box).waiting == {HERE: 1250}
    assert inspect.summarize(box).dead == 1250


async def test_replay_and_purge_process_existing_numbers_and_report_missing_ones(box):
    await fill(box, dead=[(make(), HERE, "no") for _ in range(4)])

    code, text, err = await evbus(box, "dead", "replay", 1, 99, 98, 1)
    purging, document = await evbus_json(box, "dead", "purge", 2, 97, "--yes")

    assert (code, purging) == (1, 1)
    assert "replayed 1 dead letter:" in text
    assert "there is no dead letter 98, 99" in err
    assert (document["purged"], document["missing"]) == (1, [97])
    assert numbers(box) == [3, 4]


@pytest.mark.parametrize("what", ["replay", "purge"])
@pytest.mark.parametrize(
    "which",
    [[], ["1", "--all"], ["--destination", HERE], ["1", "--destination", HERE], ["1", "--limit", "1"]],
)
async def test_replay_and_purge_need_an_unambiguous_selection(box, what, which):
    await fill(box, dead=[(make(), HERE, "no")])

    code, _, err = await evbus(box, "dead", what, *which)

    assert code == 2
    assert f"name dead letters: `evbus dead {what} NUMBER ...`" in err
    assert numbers(box) == [1]


# ---- dead purge


async def test_purge_without_a_terminal_needs_yes_and_says_how_many_it_would_delete(box):
    await fill(box, dead=[(make(), HERE, "no"), (make(), "amqp:x", "no")])

    code, _, err = await evbus(box, "dead", "purge", "--all", *OURS)
    kept = numbers(box)
    done, text, _ = await evbus(box, "dead", "purge", "--all", "--yes", *OURS)

    assert (code, done) == (2, 0)
    assert f"2 dead letters for good (amqp:x 1, {HERE} 1)" in err
    assert "add --yes" in err
    assert kept == [1, 2]
    assert text == "deleted 2 dead letters\n"
    assert numbers(box) == []


@pytest.mark.parametrize(("key", "code", "left"), [("y\n", 0, []), ("\n", 1, [1]), ("n\n", 1, [1]), ("\x03", 130, [1])])
async def test_purge_asks_for_confirmation_on_a_terminal(box, key, code, left):
    await fill(box, dead=[(make(), HERE, "no")])
    ours, theirs = pty.openpty()

    def terminal():
        os.setsid()
        os.close(os.open(os.ttyname(theirs), os.O_RDWR))  # so that Ctrl-C is a signal

    process = await asyncio.create_subprocess_exec(
        *EVBUS, "dead", "purge", "1", env=environment(box), stdin=theirs, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, preexec_fn=terminal,
    )  # fmt: skip
    async with asyncio.timeout(DEADLINE):
        asked = await process.stderr.readuntil(b"? [y/N] ")
        os.write(ours, key.encode())
        err = await process.stderr.read()
        await process.wait()
    os.close(ours)
    os.close(theirs)

    assert f"Delete 1 dead letter for good ({HERE} 1)" in asked.decode()
    assert process.returncode == code
    assert b"Traceback" not in err
    assert numbers(box) == left


# ---- the command line


async def test_a_misspelled_action_gets_a_suggestion(box):
    for group, wrong, right in (("dead", "shwo", "show"), ("dead", "purg", "purge"), ("outbox", "fluhs", "flush")):
        code, _, err = await evbus(box, group, wrong)
        assert code == 2
        assert f"there is no action '{wrong}'; did you mean '{right}'?" in err


async def test_a_group_without_an_action_shows_its_help(box):
    for group, words in (
        ("outbox", ("ls", "flush", "set-aside", "discard")),
        ("dead", ("ls", "show", "replay", "purge")),
    ):
        code, _, err = await evbus(box, group)
        _, text, _ = await evbus(box, group, "--help")
        assert code == 2
        assert f"name an action: {', '.join(words)}" in err
        for word in words:
            assert f"  evbus {group} {word}" in err
            assert f"  evbus {group} {word}" in text


async def test_numbers_and_options_may_come_in_any_order(box):
    await fill(box, dead=[(make(), HERE, "no") for _ in range(3)])

    code, document = await evbus_json(box, "dead", "--yes", "purge", "1", "--outbox", box, "3")

    assert (code, document["purged"]) == (0, 2)
    assert numbers(box) == [2]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["ls", "--older-than", "3x"], "--older-than: '3x' is not a duration; write 90s, 15m, 2h, 3d or 1w"),
        (["ls", "--limit", "0"], "setting limit must be a whole number of dead letters from 1"),
        (["show"], "name one dead letter: `evbus dead show NUMBER`"),
        (["show", "1", "2"], "name one dead letter: `evbus dead show NUMBER`"),
        (["ls", "--destination", "a", "--handler", "b"], "--destination and --handler exclude each other"),
        (["ls", "--at", "amqp:none"], "no credentials file"),
        (["show", "1", "--raw", "--json"], "--raw and --json exclude each other"),
    ],
)
async def test_wrong_options_are_reported_in_one_sentence(box, arguments, text):
    await fill(box, dead=[(make(), HERE, "no")])

    code, _, err = await evbus(box, "dead", *arguments)

    assert code == 2
    assert text in err
    assert err.count("\n") == 1


async def schedule(path, count):
    """Create an outbox with events that are due in an hour, and give them."""
    made = Outbox(path)
    made.open()
    events = [make(routing_key=f"orders.{n}") for n in range(count)]
    for n, event in enumerate(events):
        await made.schedule(time.time() + 3600 + n, [(event, (HERE,))])
    await made.close()
    return events


async def test_events_that_are_sent_later_are_listed_and_cancelled(box):
    first, second = await schedule(box, 2)

    code, out, _ = await evbus(box, "outbox", "scheduled")
    assert code == 0
    assert "2 events to be sent later" in out
    assert out.index(first.id) < out.index(second.id)
    assert "UTC, in 59 min" in out
    assert "orders.1" in out

    code, out, _ = await evbus(box, "outbox", "ls")
    assert re.search(r"later: +2 events, the first at .* in 59 min \(evbus outbox scheduled\)", out)

    code, out, err = await evbus(box, "outbox", "cancel", first.id, "nobody")
    assert (code, out) == (1, "1 event cancelled\n")
    assert "no event nobody is to be sent later" in err

    code, out, _ = await evbus(box, "outbox", "scheduled", "--json")
    found = json.loads(out)
    assert (code, found["scheduled"]) == (0, 1)
    [event] = found["events"]
    assert (event["id"], event["destinations"], event["profile"]) == (second.id, [HERE], "orders")
    assert event["due"] > time.time() + 3000


async def test_cancel_needs_an_id_and_finds_nothing_where_there_is_no_outbox(box):
    code, _, err = await evbus(box, "outbox", "cancel")
    assert (code, "name an event by its id" in err) == (2, True)

    code, out, _ = await evbus(box, "outbox", "cancel", "x")
    assert (code, out) == (1, "0 events cancelled\n")


async def test_a_changing_command_repairs_a_damaged_index_and_says_so(box):
    await fill(box, [(make(b"x" * 300), HERE) for _ in range(300)], [(make(), HERE, "no")])
    connection = sqlite3.connect(box)
    name = "sqlite_autoindex_routes_1"
    root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0]
    connection.close()
    with box.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(os.urandom(4096))

    code, _, err = await evbus(box, "dead", "replay", 1)

    assert code == 0
    assert "the outbox was damaged" in err
    assert [path.name for path in box.parent.glob("*.corrupt-*Z")] != []
    assert inspect.summarize(box).waiting == {HERE: 301}
