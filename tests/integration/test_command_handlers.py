"""`evbus run`, `handlers`, `call-handler` and `tail`, run as a user runs them in the folder of an application."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess

import pytest

from tests.integration.commands import (
    APPS,
    DEADLINE,
    EVBUS,
    evbus,
    read_line_with,
    start_evbus,
    wait_for_end,
    write_credentials,
)


@pytest.fixture
def folder(tmp_path):
    """A folder with the application shop and the source pigeon, which reads the file events."""
    for name in ("shop", "pigeons"):
        shutil.copytree(APPS / name, tmp_path / name)
    (tmp_path / "events").touch()
    write_credentials(
        tmp_path, {"pigeon": {"default": {"path": "events"}}, "internal": {"out": {"routing_key": "out"}}}
    )
    return tmp_path


def handler(folder, text, name="more"):
    """Add a file of handlers to the application."""
    (folder / "shop" / "handler" / f"{name}.py").write_text(f"import evbus_like.handlers as evbus\n\n{text}")


def event(folder, event_type, body=None, **more):
    with (folder / "events").open("a") as events:
        events.write(json.dumps({"type": event_type, "body": body, **more}) + "\n")


def notes(folder):
    path = folder / "events.notes"
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def running(folder):
    """Start `evbus run`, and leave no process behind."""
    started = []

    def start(*arguments, **more):
        started.append(start_evbus(folder, "run", *arguments, **more))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


# ---- run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_run_runs_the_handlers_of_the_folder_until_a_signal(folder, running, number):
    event(folder, "order_placed", {"id": 7})
    process = running()
    await read_line_with(process, process.stdout, "hello, order 7")

    process.send_signal(number)
    code, out, err = await wait_for_end(process)

    assert code == 0, err
    assert "shipping.ship" in out
    assert "put 1, accepted 0" in out  # nothing matches default: the profile is only a source
    assert "evt-orders-order_placed--shipping.ship" in err
    assert f"{number.name}: running handlers finish" in err
    assert "ack e1" in notes(folder)


async def test_run_prints_its_progress_as_json_lines_apart_from_the_output_of_handlers(folder, running):
    event(folder, "order_placed", {"id": 7})
    process = running("--json", "--only", "shipping.ship", "--skip", "shipping.l*", "--app", "shop")
    started, receiving = [json.loads(await read_line_with(process, process.stdout, "event")) for _ in range(2)]
    await read_line_with(process, process.stderr, "hello, order 7")
    process.terminate()
    code, out, _ = await wait_for_end(process)
    stopping, stopped = map(json.loads, out.splitlines())

    assert (started["event"], started["pid"], receiving) == ("started", process.pid, {"event": "receiving"})
    assert [each["handler"] for each in started["handlers"]] == ["shipping.ship"]
    assert stopping == {"event": "stopping", "reason": "SIGTERM"}
    assert (stopped["event"], stopped["reason"], stopped["exit_code"], code) == ("stopped", "SIGTERM", 0, 0)
    assert stopped["handlers"][0]["handled"] == 1
    assert stopped["account"]["unmatched"] == 1


async def test_a_thread_of_the_loop_knows_which_event_is_handled(folder, running):
    handler(
        folder,
        """
import asyncio

@evbus.handler("orders", "order_placed")
async def threads(hub, event):
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(None, evbus.current)
    print("in a thread:", found.event.id == event.id, flush=True)
""",
    )
    event(folder, "order_placed", {"id": 7})
    process = running()
    await read_line_with(process, process.stdout, "in a thread: True")


async def test_on_a_signal_a_running_handler_finishes_and_its_events_are_delivered(folder, running):
    write_credentials(folder, {"pigeon": {"default": {"path": "events"}}, "internal": {"d*": {"routing_key": "out"}}})
    event(folder, "order_slow", {"id": 7})
    process = running("--json")
    await read_line_with(process, process.stderr, "slow has begun")
    process.terminate()
    await read_line_with(process, process.stdout, "stopping")

    (folder / "go").touch()
    code, out, _ = await wait_for_end(process)

    stopped = json.loads(out.splitlines()[-1])
    assert (code, stopped["account"]["delivered"]) == (0, 1)
    assert "ack e1" in notes(folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_the_process_at_once(folder, running, number):
    event(folder, "order_slow", {"id": 7})
    process = running("--json")
    await read_line_with(process, process.stderr, "slow has begun")
    process.send_signal(number)
    await read_line_with(process, process.stdout, "stopping")

    await asyncio.sleep(1.2)  # one that comes sooner is the same signal: `timeout` sends two
    process.send_signal(number)
    code, _, _ = await wait_for_end(process)

    assert code == -number
    assert "ack e1" not in notes(folder)


async def test_a_handler_stuck_in_a_thread_does_not_keep_the_process_alive(folder, running):
    event(folder, "order_stuck")
    process = running("--stop-timeout", "0.2")
    await read_line_with(process, process.stdout, "stuck has begun")
    process.terminate()
    _, _, err = await wait_for_end(process)

    assert "a handler did not end within" in err
    assert re.search("abandoned while still running: evbus_like .*stuck", err)
    assert "ack e1" not in notes(folder)


async def test_a_handler_failure_that_shuts_the_worker_down_gives_exit_code_one(folder, running):
    event(folder, "order_lost", {"id": 7})
    code, out, _ = await wait_for_end(running("--json"))

    stopped = json.loads(out.splitlines()[-1])
    assert (code, stopped["exit_code"]) == (1, 1)
    assert (
        "handler.shipping.lose failed, and its on_error is SHUTDOWN: ValueError: order 7 is lost" in stopped["reason"]
    )
    assert "ack e1" not in notes(folder)


async def test_every_handler_that_cannot_be_bound_is_reported_and_nothing_starts(folder):
    handler(
        folder,
        "@evbus.handler('orders', 'x', profile='nobody')\nasync def one(hub, event): ...\n\n"
        "@evbus.handler('orders', 'x', profile='rabbit')\nasync def two(hub, event): ...\n\n"
        "@evbus.handler('orders', 'x')\nasync def three(hub): ...\n",
    )
    code, out, err = await evbus(folder, "run", "--json")

    assert code == 2
    assert "handler.more.one: unknown source profile 'nobody'" in err
    assert "handler.more.two: unknown source profile 'rabbit'" in err
    assert "handler.more.three: it takes no event" in err
    assert json.loads(out)["kind"] == "HandlerError"
    assert notes(folder) == []


async def test_an_invalid_handler_can_be_skipped(folder):
    handler(folder, "@evbus.handler('orders', 'x', attempts=0)\nasync def broken(hub, event): ...\n")
    code, out, err = await evbus(folder, "handlers", "--json", "--skip", "more.broken")

    assert code == 0, err
    assert "more.broken" not in out
    assert (await evbus(folder, "handlers"))[0] == 2


async def test_without_handlers_the_error_names_the_folder_that_was_searched(tmp_path):
    for command in ("run", "handlers"):
        code, _, err = await evbus(tmp_path, command, credentials=False)

        assert code == 2
        assert "no handler" in err
        assert str(tmp_path) in err


async def test_without_credentials_run_says_that_events_stay_in_memory(folder, running):
    process = running(credentials=False)
    await read_line_with(process, process.stderr, "no credentials file, so the only profile is internal:default")
    await read_line_with(process, process.stderr, "every handler receives")
    process.terminate()
    assert (await wait_for_end(process))[0] == 0


async def test_unhandled_events_in_memory_are_counted(folder, running):
    write_credentials(folder, {"pigeon": {"default": {"path": "events"}}, "internal": {"default": None}})
    handler(
        folder,
        "@evbus.handler('orders', 'many', profile='pigeon:default')\n"
        "async def many(hub, event):\n"
        "    for number in range(20):\n"
        "        await hub.evbus.broker.dispatch('orders', 'order_slow', number)\n",
    )
    event(folder, "many")
    process = running("--json", "--stop-timeout", "0.2")
    await read_line_with(process, process.stderr, "slow has begun")
    process.terminate()
    code, out, err = await wait_for_end(process)

    assert json.loads(out.splitlines()[-1])["unhandled_in_memory"] == 20
    assert (code, "20 events in memory were not handled and are lost" in err) == (1, True)


async def test_an_absent_source_is_reported_and_retried(folder, running):
    write_credentials(folder, {"pigeon": {"default": {"path": "events", "absent": True}}})
    process = running("--only", "shipping.ship")
    line = await read_line_with(process, process.stderr, "receives nothing, trying again: no pigeon has come")
    assert "handler.shipping.ship on pigeon:default" in line
    process.terminate()
    assert (await wait_for_end(process))[0] == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--only", "shiping.*"],
            "--only 'shiping.*' matches no handler or service; there are shipping.lose, shipping.ship",
        ),
        (["--skip", "audit"], "--skip 'audit' matches no handler"),
        (["--skip", "shipping"], "--only and --skip leave no handler"),
        (["--app", "shp"], "there is no application 'shp' with handlers or services; did you mean 'shop'?"),
        (["--acct-file", "nowhere.yml"], "does not exist"),
    ],
)
async def test_options_that_select_nothing_are_reported(folder, arguments, expected):
    code, _, err = await evbus(folder, "run", *arguments)
    assert (code, expected in err, "Traceback" in err) == (2, True, False), err


# ---- handlers


async def test_handlers_lists_each_handler_with_its_subscription(folder):
    handler(folder, "@evbus.handler('a', 'b.*', delivery=evbus.SINGLETON, profile='p')\ndef one(hub, event): ...\n")
    code, out, _ = await evbus(folder, "handlers", "--json", "--skip", "shipping", credentials=False)
    plain_code, plain, _ = await evbus(folder, "handlers", credentials=False)

    (row,) = json.loads(out)
    assert (code, plain_code) == (0, 0)
    assert row["handler"], row["events"] == ("more.one", ["b.*"])
    assert (row["queue"], row["delivery"], row["profile"]) == ("evt-a-b.*", "singleton", "p")
    assert "shipping.slow" in plain
    assert "evt-orders-order_slow--shipping.slow" in plain


async def test_the_app_option_limits_the_list_to_one_application(folder):
    shutil.copytree(folder / "shop/handler", folder / "other/handler")
    (folder / "other/handler/shipping.py").rename(folder / "other/handler/billing.py")
    (folder / "other/conf.py").write_text('DYNE = {"handler": ["handler"]}\n')

    _, both, _ = await evbus(folder, "handlers", "--json")
    _, one, _ = await evbus(folder, "handlers", "--json", "--app", "other")

    assert {row["handler"].split(".")[0] for row in json.loads(both)} == {"shipping", "billing"}
    assert {row["handler"].split(".")[0] for row in json.loads(one)} == {"billing"}


async def test_an_application_in_the_folder_wins_over_one_on_the_python_path(folder):
    inner = folder / "inner"
    shutil.move(folder / "shop", inner / "shop")
    ran = await asyncio.to_thread(
        subprocess.run,
        [EVBUS, "handlers", "--app", "shop"],
        cwd=inner,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert ran.returncode == 0, ran.stderr
    assert "shipping.ship" in ran.stdout


async def test_a_handler_plugin_that_does_not_load_is_reported(folder):
    handler(folder, "import nothing_of_this_name\n")
    code, _, err = await evbus(folder, "handlers")
    assert code == 2
    assert "the handler plugin 'more' could not be loaded: ModuleNotFoundError" in err


# ---- call-handler


async def test_call_handler_calls_a_handler_and_shows_the_events_that_it_put(folder):
    (folder / "order.json").write_text('{"id": 8}')
    code, out, _ = await evbus(folder, "call-handler", "shipping.ship", "order.json", credentials=False)
    json_code, document, err = await evbus(
        folder, "call-handler", "shipping.ship", "--body", '{"id": 7}', "--header", "correlation-id=c", "--json"
    )

    assert (code, json_code) == (0, 0)
    assert "hello, order 8" in out
    assert 'shipping.shipped profile=default {"id": 8}' in out
    facts = json.loads(document)
    assert (facts["ok"], facts["put"][0]["body"]) == (True, {"id": 7})
    assert facts["put"][0]["headers"]["correlation-id"] == "c"
    assert "hello, order 7" in err


async def test_a_failing_handler_gives_exit_code_one_and_its_traceback(folder):
    code, out, err = await evbus(folder, "call-handler", "shipping.lose", "--file", "/dev/stdin", credentials=False)
    assert (code, out) == (2, "")
    assert "is not valid JSON" in err
    code, out, _ = await evbus(folder, "call-handler", "shipping.lose", "--body", '{"id": 3}', credentials=False)
    assert code == 1
    assert "failed: ValueError: order 3 is lost" in out
    assert 'shipping.py", line' in out


@pytest.mark.parametrize("name", ["slow", "stuck"])
async def test_a_signal_ends_a_handler_call_that_takes_too_long(folder, name):
    process = start_evbus(folder, "call-handler", f"shipping.{name}", credentials=False)
    await read_line_with(process, process.stdout, f"{name} has begun")
    process.terminate()
    code, out, err = await wait_for_end(process)
    assert (code, out) == (143, "")
    assert "ended by a signal before the handler was done" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["shipping.sink"], "there is no handler 'shipping.sink'"),
        (["shipping.ship", "--body", "{"], "--body is not valid JSON"),
        (["shipping.ship", "nowhere.json"], "nowhere.json cannot be read"),
        (["shipping.ship", "-", "--body", "1"], "give the body once"),
        (["shipping.ship", "--header", "x"], "write NAME=VALUE"),
    ],
)
async def test_a_call_with_invalid_arguments_gives_exit_code_two(folder, arguments, expected):
    code, _, err = await evbus(folder, "call-handler", *arguments, credentials=False)
    assert (code, expected in err, "Traceback" in err) == (2, True, False), err


# ---- tail


async def test_tail_prints_events_as_json_from_its_own_queue_and_settles_none_as_failed(folder):
    event(folder, "order.placed", {"id": 7}, headers={"shop": "north"})
    event(folder, "order.paid", raw="{no json")
    event(folder, "customer.new", 1)

    code, out, err = await evbus(folder, "tail", "default", "order.*", "--service", "orders", "--json", "--count", "2")

    placed, paid = map(json.loads, out.splitlines())
    assert code == 0, err
    assert (placed["service"], placed["routing_key"], placed["id"]) == ("orders", "order.placed", "e1")
    assert (placed["body"], placed["headers"]) == ({"id": 7}, {"shop": "north"})
    assert (paid["body"], paid["encoding"]) == ("{no json", "utf-8")
    queue, delivery, reliable = notes(folder)[0].split()[1:]
    assert (queue.startswith("evt-orders-order.*--evbus.tail-"), delivery, reliable) == (True, "broadcast", "False")
    assert not [note for note in notes(folder) if note.startswith(("dead", "requeue"))]


async def test_tail_prints_one_readable_line_without_control_characters(folder):
    write_credentials(folder, {"pigeon": {"default": {"path": "events", "exchange": "orders.events"}}})
    event(folder, "order.placed", {"text": "x" * 1000}, id="a\x1b[2J")
    code, out, _ = await evbus(folder, "tail", "pigeon:default", "--count", "1")

    assert code == 0
    assert " orders order.placed " in out
    assert "(1012 characters)" in out
    assert "\x1b[2J" not in out


@pytest.mark.parametrize(("arguments", "code"), [([], 0), (["--count", "5"], 130)])
async def test_tail_ends_on_a_signal(folder, arguments, code):
    process = start_evbus(folder, "tail", "default", "--service", "orders", *arguments)
    await read_line_with(process, process.stderr, "receiving orders: # from pigeon:default")
    process.send_signal(signal.SIGINT)
    assert (await wait_for_end(process))[0] == code
    assert notes(folder)[-1].startswith("unsubscribe")


async def test_tail_starts_where_its_since_option_says(folder):
    for since in ("earliest", "12", "2026-01-31T12:00Z", "15m"):
        event(folder, "x")
        code, _, err = await evbus(folder, "tail", "default", "--service", "s", "--count", "1", "--since", since)
        assert code == 0, err
    begun = [note.partition(" ")[2] for note in notes(folder) if note.startswith("since")]
    assert begun[:3] == ["earliest", "12", "2026-01-31 12:00:00+00:00"]
    assert begun[3].startswith("20")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["default"], "name the service: --service SERVICE"),
        (["out", "--service", "s"], "internal:out is in the memory of another process"),
        (["nobody"], "unknown source profile 'nobody'"),
        (["default", "--service", "s", "--since", "tomorrow"], "--since 'tomorrow': write earliest"),
        (["default", "--service", "s", "--count", "0"], "count must be a whole number of events from 1"),
        (["default", "a*b", "--service", "s"], "* and # stand for whole words"),
    ],
)
async def test_invalid_arguments_of_tail_are_explained(folder, arguments, expected):
    code, _, err = await evbus(folder, "tail", *arguments)
    assert (code, expected in err, "Traceback" in err) == (2, True, False), err
