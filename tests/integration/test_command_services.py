"""`evbus run` with services, `evbus services` and `evbus rpc`, run as a user runs them; calls go over a RabbitMQ."""

import json
import shutil
import signal

import pytest

from evbus_like.cli import rpc
from evbus_like.cli.errors import UsageError
from tests.integration.commands import APPS, evbus, read_line_with, start_evbus, wait_for_end, write_credentials


@pytest.fixture
def folder(tmp_path):
    """A folder with the application world, which has a service of that name."""
    shutil.copytree(APPS / "world", tmp_path / "world")
    write_credentials(tmp_path, {"internal": {"default": None}})
    return tmp_path


@pytest.fixture
def name(fresh_name):
    """A unique service name that is also a valid file name."""
    return fresh_name.replace("-", "_")


@pytest.fixture
def served(folder, rabbitmq, name):
    """A folder whose service has a unique name and is called over RabbitMQ."""
    (folder / "world/service/world.py").rename(folder / f"world/service/{name}.py")
    write_credentials(
        folder, {"amqp": {"default": {"connection": {"url": rabbitmq.url}}}, "internal": {"default": None}}
    )
    return folder


@pytest.fixture
def running():
    """Start `evbus run`, and leave no process behind."""
    started = []

    def start(folder, *arguments, **more):
        started.append(start_evbus(folder, "run", *arguments, **more))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def service(folder, text, name="more"):
    """Add a file of a service to the application."""
    (folder / "world/service" / f"{name}.py").write_text(text)


# ---- run, without a broker


@pytest.mark.parametrize("credentials", [True, False])
async def test_run_serves_services_until_a_signal(folder, running, credentials):
    process = running(folder, credentials=credentials)
    await read_line_with(process, process.stderr, "every service can be called")
    process.terminate()
    code, out, err = await wait_for_end(process)

    assert code == 0, err
    assert "SIGTERM: running handlers and calls finish" in err
    assert "answered" in out


async def test_run_prints_the_services_in_its_json_lines(folder, running):
    process = running(folder, "--json", "--only", "world.s*", "--skip", "world.slow")
    started, receiving = [json.loads(await read_line_with(process, process.stdout, "event")) for _ in range(2)]
    process.terminate()
    code, out, _ = await wait_for_end(process)
    stopped = json.loads(out.splitlines()[-1])

    assert started["handlers"] == []
    expected = {"service": "world", "methods": ["shout"], "source": "internal:default", "queue": "rpc-world"}
    assert started["services"] == [expected]
    assert receiving == {"event": "receiving"}
    counts = {"received": 0, "answered": 0, "requeued": 0, "lost": 0}
    assert stopped["services"] == [{"service": "world", "source": "internal:default", **counts}]
    assert code == 0


async def test_handlers_and_services_of_one_application_run_together_and_call_each_other(folder, running):
    shutil.copytree(APPS / "shop/handler", folder / "world/handler")
    (folder / "world/conf.py").write_text('DYNE = {"service": ["service"], "handler": ["handler"]}\n')
    (folder / "world/handler/shipping.py").write_text(
        "import evbus_like.handlers as evbus\n\n\n"
        "@evbus.handler('orders', 'placed')\n"
        "async def ship(hub, event):\n"
        "    print(await hub.rpc.world.shout(event.body), flush=True)\n"
        "    await hub.rpc.world.shout.ask('asked')\n\n\n"
        "@evbus.on_response('world', 'shout')\n"
        "async def shouted(hub, event):\n"
        "    print('heard', event.body, flush=True)\n"
    )
    service(
        folder, "async def place(hub, what):\n    await hub.evbus.broker.dispatch('orders', 'placed', what)\n", "orders"
    )
    (folder / "world/service/begin.py").write_text("async def now(hub):\n    await hub.rpc.orders.place('tea')\n")
    (folder / "world/handler/first.py").write_text(
        "import evbus_like.handlers as evbus\n\n\n"
        "@evbus.handler('start', 'x')\nasync def first(hub, event):\n    await hub.rpc.begin.now()\n"
    )
    (folder / "events").write_text(json.dumps({"type": "x", "body": 1}) + "\n")
    shutil.copytree(APPS / "pigeons", folder / "pigeons")
    first = (folder / "world/handler/first.py").read_text()
    (folder / "world/handler/first.py").write_text(first.replace("'x')", "'x', profile='pigeon:birds')"))
    write_credentials(folder, {"internal": {"default": None}, "pigeon": {"birds": {"path": "events"}}})

    process = running(folder, "--service-name", "shop")
    await read_line_with(process, process.stdout, "TEA")
    await read_line_with(process, process.stdout, "heard ASKED")
    process.terminate()
    code, _, err = await wait_for_end(process)

    assert code == 0, err
    assert "every handler receives and every service can be called" in err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def one(hub):\n    yield 1\n", "service.more.one: it is a generator"),
        ("SERVICE = 'world'\ndef one(hub): ...\n", "another plugin is the service 'world' already"),
        ("import nothing_of_this_name\n", "the service plugin 'more' could not be loaded: ModuleNotFoundError"),
        ("PROFILE = 'nobody'\ndef one(hub): ...\n", "service more: unknown source profile 'nobody'"),
    ],
)
async def test_an_invalid_service_is_reported_and_nothing_starts(folder, text, expected):
    service(folder, text)
    code, _, err = await evbus(folder, "run")
    assert (code, expected in err) == (2, True), err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["run", "--only", "word.*"],
            "--only 'word.*' matches no handler or service; there are world.hello, world.fail",
        ),
        (["services", "--skip", "world"], "--only and --skip leave no service"),
        (["run", "--app", "wrld"], "there is no application 'wrld' with handlers or services; did you mean 'world'?"),
        (["run", "--services-file", "nowhere.yml"], "the services file nowhere.yml does not exist"),
        (["handlers"], "no handler was found"),
    ],
)
async def test_options_that_select_nothing_are_reported(folder, arguments, expected):
    code, _, err = await evbus(folder, *arguments)
    assert (code, expected in err, "Traceback" in err) == (2, True, False), err


# ---- services


async def test_services_lists_the_methods_with_their_signatures_and_docstrings(folder):
    (folder / "services.yml").write_text("world: {profile: far}\n")
    code, plain, _ = await evbus(folder, "services", credentials=False)
    json_code, document, _ = await evbus(folder, "services", "--json", "--services-file", "services.yml")

    assert (code, json_code) == (0, 0)
    assert "1 service, 4 methods" in plain
    assert "world.hello(name, times=1)" in plain
    rows = {row["method"]: row for row in json.loads(document)}
    assert rows["hello"]["doc"].splitlines()[0] == "Greet somebody."
    assert {row["profile"] for row in rows.values()} == {"far"}
    assert (rows["fail"]["function"], rows["fail"]["timeout"]) == ("hub.service.world.raise_", 30.0)
    assert rows["shout"]["call"] == "world.shout(text: str)"


async def test_handlers_lists_response_handlers_beside_event_handlers(folder):
    (folder / "world/handler").mkdir()
    (folder / "world/conf.py").write_text('DYNE = {"service": ["service"], "handler": ["handler"]}\n')
    (folder / "world/handler/shop.py").write_text(
        "import evbus_like.handlers as evbus\n\n\n@evbus.on_error('world', 'hello')\nasync def sorry(hub, event): ...\n"
    )
    code, out, err = await evbus(folder, "handlers", "--json")
    (row,) = json.loads(out)
    assert code == 0, err
    assert (row["handler"], row["source"], row["events"]) == ("shop.sorry", "world", ["hello (error)"])
    assert row["queue"] == "rpc.responses-shop"


# ---- rpc, what needs no broker


@pytest.mark.parametrize("credentials", [True, False])
async def test_a_shell_call_over_memory_explains_that_it_reaches_no_other_process(folder, credentials):
    code, out, err = await evbus(folder, "rpc", "world.hello", "--json", credentials=credentials)
    assert (code, json.loads(out)["kind"]) == (2, "UsageError")
    assert "a service in memory can only be called by its own process" in err
    assert "--acct-file FILE" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["hello"], "'hello': write SERVICE.METHOD"),
        (["world.hello", "param"], "argument 'param': write NAME=VALUE"),
        (["world.hello", "a=1", "a=2"], "the argument 'a' is given twice"),
        (["world.hello", "--timeout", "0"], "rpc_timeout must be a number of seconds"),
        (["world.hello"], "unknown source profile 'default'; there is: amqp:both, amqp:far"),
        (["world.hello", "--profile", "fa"], "Name the profile that carries the call: --profile NAME"),
        (["world.hello", "--profile", "log"], "kafka:log cannot carry calls"),
        (["world.hello", "--profile", "both"], "several providers have a profile 'both'; say which"),
    ],
)
async def test_a_call_with_invalid_arguments_gives_exit_code_two(folder, arguments, expected):
    far = {"connection": {"url": "amqp://127.0.0.1:1/"}}
    kafka = {"connection": {"bootstrap_servers": "127.0.0.1:1"}}
    write_credentials(folder, {"amqp": {"far": far, "both": far}, "rabbitmq": {"both": far}, "kafka": {"log": kafka}})
    code, _, err = await evbus(folder, "rpc", *arguments)
    assert (code, expected in err, "Traceback" in err) == (2, True, False), err


async def test_an_absent_broker_is_reported_at_the_timeout(folder):
    write_credentials(folder, {"amqp": {"default": {"connection": {"url": "amqp://127.0.0.1:1/"}}}})
    code, _, err = await evbus(folder, "rpc", "world.hello", "--timeout", "1")
    assert code == 1
    assert "RpcTimeout: world.hello was not called: amqp:default is not connected after 1 s" in err
    assert "no request was sent; check the broker: `evbus check`" in err
    assert err.count("receives nothing, trying again") == 1


def test_values_are_parsed_as_json_and_otherwise_taken_as_text():
    given = ["a=1", "b=[1, null]", 'c="7"', "d=ann", "e=", "f=x=y", "g=NaN", "h=-Infinity", "i={", "j=true"]
    read = rpc.arguments(given)
    assert list(read.values()) == [1, [1, None], "7", "ann", "", "x=y", "NaN", "-Infinity", "{", True]
    assert rpc.arguments(["deep=" + "[" * 100_000])["deep"].startswith("[[")


def test_the_last_dot_separates_the_service_from_the_method():
    assert rpc.names("shop.world.hello") == ("shop.world", "hello")
    for text in ("", "hello", ".hello", "hello."):
        with pytest.raises(UsageError):
            rpc.names(text)


# ---- rpc, over RabbitMQ


async def test_rpc_prints_the_result_of_a_service_in_another_process(served, running, name):
    process = running(served, "--json")
    await read_line_with(process, process.stdout, "receiving")
    code, out, err = await evbus(served, "rpc", f"{name}.hello", "name=ann", "times=2")
    text_code, text, _ = await evbus(served, "rpc", f"{name}.shout", "text=7e")
    json_code, document, _ = await evbus(
        served, "rpc", f"{name}.shout", 'text="a"', "--json", "--profile", "amqp:default"
    )

    assert (code, text_code, json_code) == (0, 0, 0), err
    assert json.loads(out) == {"said": ["hello, ann"] * 2}
    assert text == "7E\n"
    facts = json.loads(document)
    assert (facts["ok"], facts["result"], facts["error"]) == (True, "A", None)

    process.terminate()
    stopped_code, out, _ = await wait_for_end(process)
    counts = {each["source"]: each for each in json.loads(out.splitlines()[-1])["services"]}
    counted = counts["amqp:default"]
    assert (stopped_code, counted["received"], counted["answered"]) == (0, 3, 3)


async def test_errors_of_a_call_are_printed_with_their_class_and_give_exit_code_one(served, running, name):
    process = running(served, "--json")
    await read_line_with(process, process.stdout, "receiving")
    failed, out, err = await evbus(served, "rpc", f"{name}.fail", "--json")
    missing, _, no_method = await evbus(served, "rpc", f"{name}.nope")
    wrong, _, signature = await evbus(served, "rpc", f"{name}.hello", "nmae=ann")

    assert (failed, missing, wrong) == (1, 1, 1)
    error = json.loads(out)["error"]
    assert (error["class"], error["raised"]["class"], error["raised"]["code"]) == ("RemoteError", "ValueError", 404)
    assert error["raised"]["args"] == ["no such thing", 5]
    assert "raised ValueError: " in err
    assert "(code 404)" in err
    assert "MethodNotFound" in no_method
    assert "`evbus services`" in no_method
    assert "IncorrectSignature" in signature


async def test_a_service_that_nobody_serves_is_reported_at_once(served, name):
    code, _, err = await evbus(served, "rpc", f"{name}.hello", "--timeout", "600")
    assert code == 1
    assert "UnknownService: nobody serves" in err
    assert "start it (`evbus run`" in err


async def test_a_call_that_takes_longer_than_its_timeout_is_reported(served, running, name):
    process = running(served, "--json")
    await read_line_with(process, process.stdout, "receiving")
    code, _, err = await evbus(served, "rpc", f"{name}.slow", "--timeout", "0.5")
    assert code == 1
    assert "RpcTimeout: " in err
    assert "--timeout SECONDS" in err
    (served / "go").touch()


async def test_on_a_signal_a_running_call_finishes_and_its_client_gets_the_reply(served, running, name):
    process = running(served, "--json")
    await read_line_with(process, process.stdout, "receiving")
    calling = start_evbus(served, "rpc", f"{name}.slow", "--timeout", "60")
    await read_line_with(process, process.stderr, "slow has begun")
    process.terminate()
    await read_line_with(process, process.stdout, "stopping")

    (served / "go").touch()
    code, out, err = await wait_for_end(calling)
    stopped_code, _, _ = await wait_for_end(process)

    assert (code, out, stopped_code) == (0, "done\n", 0), err


async def test_a_signal_ends_a_call(served, running, name):
    process = running(served, "--json")
    await read_line_with(process, process.stdout, "receiving")
    calling = start_evbus(served, "rpc", f"{name}.slow", "--timeout", "60")
    await read_line_with(process, process.stderr, "slow has begun")
    calling.send_signal(signal.SIGTERM)
    code, _, err = await wait_for_end(calling)
    (served / "go").touch()

    assert code == 143
    assert "the method may have run" in err
