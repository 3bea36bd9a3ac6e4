"""The command in a hostile shell: streams that fail, signals, pipes without a writer, odd environments."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evbus_like.testing import eventually

EVBUS = str(Path(sys.executable).with_name("evbus"))
DEADLINE = 150


@pytest.fixture
def folder(tmp_path):
    """A folder with credentials of a queue in memory."""
    path = tmp_path / "acct.yml"
    path.write_text("internal: {default: }\n")
    path.chmod(0o600)
    return tmp_path


def shell(folder, script, **environment):
    """Run a line of bash, in which $EVBUS is the command; gives its exit code, its output and its errors."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("ACCT_", "EVBUS_", "POP_"))}
    every = {**own, "EVBUS": EVBUS, "ACCT_FILE": "acct.yml", **environment}
    given = {name: value for name, value in every.items() if value is not None}
    ran = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=given, capture_output=True, timeout=DEADLINE, stdin=subprocess.DEVNULL
    )
    err = ran.stderr.decode()
    assert "Traceback" not in err
    return ran.returncode, ran.stdout.decode(), err


def start(folder, *arguments, command=(EVBUS,)):
    """Start the command."""
    return subprocess.Popen(
        [*command, *arguments],
        cwd=folder,
        env={**os.environ, "ACCT_FILE": "acct.yml"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def wait_for_line(stream, text):
    """Read lines until one contains the text."""
    async with asyncio.timeout(DEADLINE):
        while text not in (line := await asyncio.to_thread(stream.readline)):
            assert line, f"the stream ended before {text!r}"
    return line


async def wait_for_handlers(process):
    """Wait until the command has handlers of SIGTERM and SIGHUP."""
    both = 1 << (signal.SIGTERM - 1) | 1 << (signal.SIGHUP - 1)

    def caught():
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)

    await eventually(lambda: caught() & both == both, DEADLINE)


# ---- settings


def test_a_wrong_settings_file_ends_the_command_before_it_starts(folder):
    (folder / "settings.yml").write_text("evbus_like: {stop_timeout: 10s}")

    code, out, err = shell(folder, '"$EVBUS" outbox ls --json --config settings.yml')

    assert code == 2
    assert "the settings file settings.yml (--config): setting stop_timeout must be a number of seconds" in err
    assert json.loads(out)["kind"] == "SettingError"


def test_a_folder_and_a_pipe_as_settings_file(folder):
    code, _, err = shell(folder, '"$EVBUS" check', EVBUS_CONFIG=".")
    assert (code, "(EVBUS_CONFIG) is a folder, not a file" in err) == (2, True)

    code, out, _ = shell(folder, '"$EVBUS" outbox ls --json --config <(echo "evbus_like: {outbox_path: /x/y}")')
    assert (code, json.loads(out)["path"]) == (0, "/x/y")


@pytest.mark.parametrize("value", ["10s", ""])
def test_a_wrong_number_in_the_environment_is_named_with_its_variable(folder, value):
    code, _, err = shell(folder, '"$EVBUS" check', EVBUS_STOP_TIMEOUT=value)

    assert code == 2
    assert "setting stop_timeout must" in err
    assert "(environment variable EVBUS_STOP_TIMEOUT)" in err


def test_a_wrong_option_of_the_command_line_is_named(folder):
    code, _, err = shell(folder, '"$EVBUS" demo --timeout nan')
    assert (code, "(command-line option --timeout)" in err) == (2, True)

    code, out, _ = shell(folder, '"$EVBUS" check --json --tiemout 3')
    assert (code, json.loads(out)["kind"]) == (2, "UsageError")


def test_a_wrong_log_level_is_an_error_and_a_misspelled_variable_a_warning(folder):
    code, _, err = shell(folder, '"$EVBUS" check --log-level loud')
    assert (code, "the log level must be one of trace, debug" in err) == (2, True)

    assert "did you mean EVBUS_STOP_TIMEOUT" in shell(folder, '"$EVBUS" demo', EVBUS_STOPTIMEOUT="3")[2]


def test_a_check_finds_a_misspelled_variable(folder):
    code, out, _ = shell(folder, '"$EVBUS" check --json', EVBUS_OUTBOX_PATH="o.sqlite")

    (row,) = [each for each in json.loads(out) if each["part"] == "environment"]
    assert (code, row["problem"]) == (1, "no setting is read from EVBUS_OUTBOX_PATH; did you mean EVBUS_OUTBOX?")


# ---- streams


@pytest.mark.parametrize("command", ["check", "demo --json"])
@pytest.mark.parametrize(("to", "said"), [(">/dev/full", "No space left on device"), (">&-", "it is closed")])
def test_an_output_that_cannot_be_written_is_an_error(folder, command, to, said):
    code, _, err = shell(folder, f'"$EVBUS" {command} {to}')

    assert code == 1
    assert f"evbus {command.split()[0]}: standard output cannot be written: {said}" in err


def test_a_reader_that_exits_is_no_message(folder):
    code, _, err = shell(folder, '"$EVBUS" demo --json 2>err | true; echo ${PIPESTATUS[0]}; cat err >&2')
    assert code == 0
    assert err == ""


def test_closed_streams_are_no_traceback(folder):
    assert shell(folder, '"$EVBUS" check --acct-file nowhere 2>&-')[0] == 2
    assert shell(folder, '"$EVBUS" check <&- >&- 2>&-')[0] == 1
    code, _, err = shell(folder, '"$EVBUS" pipe <&-')
    assert (code, "standard input cannot be read: it is closed" in err) == (1, True)


ODD = [
    {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "COLUMNS": "0", "LINES": "0", "HOME": None, "XDG_STATE_HOME": None},
    {"LC_ALL": "no_SUCH.locale", "TERM": None, "COLUMNS": "1", "TMPDIR": "/nowhere"},
    {"COLUMNS": "x", "NO_COLOR": "1", "TERM": "dumb", "HOME": "/proc/nowhere"},
]


@pytest.mark.parametrize("environment", ODD, ids=str)
def test_odd_environments_change_nothing(folder, environment):
    code, out, _ = shell(folder, '"$EVBUS" check && "$EVBUS" outbox ls --json', **environment)

    assert code == 0
    assert "internal:default" in out or environment.get("COLUMNS") == "1"


def test_a_removed_folder_and_few_descriptors(folder):
    script = 'mkdir gone && cd gone && rmdir ../gone && "$EVBUS" check --acct-file ' + str(folder / "acct.yml")
    assert shell(folder, script)[0] == 0

    assert shell(folder, 'ulimit -n 8; "$EVBUS" demo')[0] in (0, 1, 2)


def test_credentials_from_a_process_substitution(folder):
    code, out, _ = shell(folder, '"$EVBUS" check --json --acct-file <(echo "internal: {a: }")')

    assert (code, [row["profile"] for row in json.loads(out)]) == (0, ["internal:a"])


def test_a_user_without_a_home_is_told_where_to_put_the_outbox(folder):
    if os.geteuid():
        pytest.skip("needs root")
    folder.chmod(0o755)
    code = (
        "import os, sys; os.setgroups([]); os.setgid(54321); os.setuid(54321);"
        "from evbus_like.scripts import start; sys.argv = ['evbus', 'outbox', 'ls']; start()"
    )
    own = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_STATE_HOME")}
    ran = subprocess.run([sys.executable, "-c", code], cwd="/", env=own, capture_output=True, text=True, timeout=60)
    if "No module named" in ran.stderr or "Permission denied" in ran.stderr:
        pytest.skip("the virtual environment is not readable by others")
    assert ran.returncode == 2
    assert "has no home folder: name the file with EVBUS_OUTBOX" in ran.stderr
    assert "Traceback" not in ran.stderr


# ---- signals and pipes


@pytest.mark.parametrize(
    ("number", "arguments"),
    [(signal.SIGTERM, ["pipe", "fifo"]), (signal.SIGINT, ["pipe", "good.ndjson", "fifo"])],
    ids=["SIGTERM", "SIGINT"],
)
async def test_a_fifo_without_a_writer_does_not_hold_the_command(folder, number, arguments):
    os.mkfifo(folder / "fifo")
    (folder / "good.ndjson").write_text('{"body": 1}\n')
    with start(folder, *arguments) as process:
        try:
            await wait_for_handlers(process)
            process.send_signal(number)
            _, err = await asyncio.to_thread(process.communicate, timeout=DEADLINE)
        finally:
            process.kill()
    assert process.returncode == 128 + number
    assert "To go on: evbus pipe --from-line 1 fifo" in err


INTERRUPTED = """
import os, signal, sys
from evbus_like.scripts import start

class Interrupt:
    def find_spec(self, name, *_):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
start()
"""


@pytest.mark.parametrize("module", ["pop.hub", "asyncio", "evbus_like.cli.main"])
def test_ctrl_c_while_the_command_imports_ends_it_without_a_traceback(folder, module):
    command = [sys.executable, "-c", INTERRUPTED, module]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=DEADLINE)
    assert (ran.returncode, ran.stderr) == (130, "")


async def test_a_pipe_that_was_interrupted_is_resumed_without_a_loss(folder):
    os.mkfifo(folder / "fifo")
    with start(folder, "pipe", "fifo", "--json") as process:
        try:
            with await asyncio.to_thread(open, folder / "fifo", "w") as file:
                print('{"body": 1}\n\nbad\n{"body": 2}', file=file, flush=True)
                await wait_for_line(process.stderr, "fifo:3: not valid JSON")
                process.send_signal(signal.SIGTERM)
                out, err = await asyncio.to_thread(process.communicate, timeout=DEADLINE)
        finally:
            process.kill()
    resume = json.loads(out)["resume"]
    assert f"--from-line {resume['line']} fifo" in err
    (folder / "all.ndjson").write_text('{"body": 1}\n\nbad\n{"body": 2}\n{"body": 3}\n')
    code, out, _ = shell(folder, f'"$EVBUS" pipe --json --from-line {resume["line"]} all.ndjson')
    assert (code, json.loads(out)["delivered"]) == (0, 1 + 5 - resume["line"])


def test_a_full_disk_stops_the_pipe_at_the_line_that_was_not_stored(folder):
    (folder / "acct.yml").write_text("internal: {default: {outbox: always}}\n")
    body = "x" * 100_000
    (folder / "events.ndjson").write_text("".join(json.dumps({"body": body + str(n)}) + "\n" for n in range(200)))
    script = 'ulimit -f 4000; trap "" XFSZ; "$EVBUS" pipe --json --timeout 1 events.ndjson'
    code, out, err = shell(folder, script, EVBUS_OUTBOX=str(folder / "o.sqlite"))

    assert code == 1
    result = json.loads(out)
    if result["accepted"] == 200:
        pytest.skip("the limit on files did not hold")
    assert result["bad"] == 1
    assert result["resume"]["line"] <= result["read"] + 1
    assert f"stopped before events.ndjson:{result['read'] + 1}:" in err


WORKER = """
from evbus_like.handlers import handler

@handler("shop", "sold")
def sold(hub, event):
    ...
"""


@pytest.fixture
def application(folder):
    """An application with a handler, in the folder."""
    (folder / "shop" / "handler").mkdir(parents=True)
    (folder / "shop" / "conf.py").write_text('DYNE = {"handler": ["handler"]}\n')
    (folder / "shop" / "handler" / "shop.py").write_text(WORKER)
    return folder


async def test_a_signal_that_comes_twice_at_once_stops_the_worker_in_order(application):
    with start(application, "run", "--json") as process:
        try:
            await wait_for_line(process.stdout, "receiving")
            process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.005)
            process.send_signal(signal.SIGTERM)
            out, _ = await asyncio.to_thread(process.communicate, timeout=DEADLINE)
        finally:
            process.kill()
    assert process.returncode == 0
    assert json.loads(out.splitlines()[-1])["reason"] == "SIGTERM"


async def test_sighup_or_a_changed_file_reloads_a_worker_and_a_wrong_file_changes_nothing(application):
    with start(application, "run", "--json", "--watch-credentials") as process:
        try:
            await wait_for_line(process.stdout, "receiving")
            (application / "acct.yml").write_text("internal: {default: , second: }\n")
            process.send_signal(signal.SIGHUP)
            assert "internal:second" in await wait_for_line(process.stderr, "SIGHUP: the profiles are reloaded")
            (application / "acct.yml").write_text("internal: {default: {max_events: 0}}\n")
            process.send_signal(signal.SIGHUP)
            line = await wait_for_line(process.stderr, "SIGHUP: the profiles cannot be reloaded and are unchanged")
            assert "max_events must be greater than 0" in line
            (application / "acct.yml").write_text("internal: {default: , third: }\n")
            line = await wait_for_line(process.stderr, "credentials file has changed: the profiles are reloaded")
            assert "internal:third" in line
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.communicate, timeout=DEADLINE)
        finally:
            process.kill()
    assert process.returncode == 0


async def test_a_hangup_that_is_ignored_stays_ignored(application):
    with start(application, "run", "--json", command=["nohup", EVBUS]) as process:
        try:
            await wait_for_line(process.stdout, "receiving")
            process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            _, err = await asyncio.to_thread(process.communicate, timeout=DEADLINE)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "SIGHUP" not in err


@pytest.mark.parametrize("command", ["check", "pipe /dev/null"])
def test_every_command_finds_the_plugins_of_the_current_folder(folder, command):
    (folder / "mine" / "serialize").mkdir(parents=True)
    (folder / "mine" / "conf.py").write_text('DYNE = {"serialize": ["serialize"]}\n')
    (folder / "mine" / "serialize" / "mine.py").write_text("def dump(hub, data):\n    return b'x'\n")
    (folder / "acct.yml").write_text("internal: {default: {serializer: mine}}\n")

    assert shell(folder, f'"$EVBUS" {command}')[0] == 0


def test_what_an_application_prints_is_no_part_of_a_document(application):
    for dyne, source in (("handler", WORKER), ("event", "def sold(hub, name: str): ...")):
        (application / "shop" / dyne).mkdir(exist_ok=True)
        (application / "shop" / dyne / "shop.py").write_text(f"print('loaded')\n{source}")
    (application / "shop" / "conf.py").write_text('DYNE = {"handler": ["handler"], "event": ["event"]}\n')

    code, out, err = shell(application, "$EVBUS handlers --json && echo , && $EVBUS schema")

    listed, schema = json.loads(f"[{out}]")
    assert (code, listed[0]["handler"]) == (0, "shop.sold")
    assert "sold" in str(schema)
    assert "loaded" in err


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('DYNE = {"handler": ["handlr"]}', "DYNE names the folder 'handlr' for 'handler'"),
        ('DYNE = {"event": ["nowhere"]}', "DYNE names the folder 'nowhere' for 'event'"),
        ('DYNE = {"handler": [7]}', "DYNE must have a list of folders"),
        ('DYNE = {"handler": ["."]}\nCONFIG = {"a": 7}', "CONFIG must map names to mappings"),
        ('DYNE = {"handler": ["."]}\nraise SystemExit(3)', "it ends the program, with SystemExit(3)"),
    ],
)
@pytest.mark.parametrize("command", ["run", "check"])
def test_a_wrong_conf_py_of_a_package_is_named_before_anything_starts(folder, command, text, problem):
    (folder / "shop").mkdir()
    (folder / "shop" / "conf.py").write_text(text)
    code, _, err = shell(folder, f"$EVBUS {command}")
    assert (code, "shop/conf.py: " in err, problem in err) == (2, True, True), err
