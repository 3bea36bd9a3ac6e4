"""idem with this project in place of pop-evbus: the same events as with pop-evbus 7.0.1, and no longer runs."""

import asyncio
import json
import os
import subprocess
import sys

import pytest
import yaml

from tests.brokers.needs import in_ci
from tests.brokers.ports import free_port
from tests.integration.support import create_topic, queue, read, take
from tests.interop import idem, venv
from tests.interop.record_idem import RECORDED

EXAMPLE = venv.ROOT / "examples/idem_to_kafka"
LATER = 2.0  # seconds that a run may take longer than with pop-evbus
TRIES = 5  # runs, on a busy machine, of which one must be as quick


@pytest.fixture(scope="session")
def place():
    """The environment; it is made with the command of docs/migration.md."""
    try:
        return idem.environment()
    except venv.Unavailable as problem:
        reason = str(problem)
    if in_ci():
        pytest.fail(reason, pytrace=False)
    return pytest.skip(reason)


@pytest.fixture(scope="module")
def theirs():
    """What the real pop-evbus did."""
    return json.loads(RECORDED.read_text(encoding="utf-8"))


async def test_rabbitmq_gets_the_events_that_pop_evbus_sends_in_their_order(
    rabbitmq, place, theirs, fresh_name, tmp_path
):
    async with queue(rabbitmq.url, fresh_name) as made:
        ran = await idem.state(place, tmp_path, idem.rabbitmq(rabbitmq.port, fresh_name))
        messages = await take(made, len(theirs["events"]))

    assert ran.code == theirs["runs"]["rabbitmq"]["code"], ran.err
    assert idem.events(message.body for message in messages) == theirs["events"]


async def test_kafka_gets_the_events_that_pop_evbus_sends_in_their_order(kafka, place, theirs, fresh_name, tmp_path):
    await create_topic(kafka.bootstrap, fresh_name, 1)
    ran = await idem.state(place, tmp_path, idem.kafka(kafka.bootstrap, fresh_name))
    records = await read(kafka.bootstrap, fresh_name, len(theirs["events"]))

    assert ran.code == theirs["runs"]["kafka"]["code"], ran.err
    assert idem.events(record.value for record in records) == theirs["events"]


async def test_the_example_streams_the_events_of_a_run_to_kafka(kafka, place, fresh_name, tmp_path):
    # Given the example, with the broker of this run
    await create_topic(kafka.bootstrap, fresh_name, 1)
    text = (EXAMPLE / "credentials.yml").read_text(encoding="utf-8")
    here = text.replace("localhost:9092", kafka.bootstrap).replace("idem-events", fresh_name)
    # When
    ran = await idem.state(place, tmp_path, yaml.safe_load(here), sls=EXAMPLE / "states.sls")
    # Then
    assert ran.code == 0, ran.err
    records = await read(kafka.bootstrap, fresh_name, 1)
    assert json.loads(records[0].value)


@pytest.mark.parametrize("broker", ["rabbitmq", "kafka"])
async def test_a_broker_that_is_down_changes_no_exit_code_and_holds_no_run_up(place, theirs, tmp_path, broker):
    down = idem.rabbitmq(free_port(), "q") if broker == "rabbitmq" else idem.kafka(f"127.0.0.1:{free_port()}", "t")
    known = theirs["runs"]
    allowed = known[f"{broker} down"]["seconds"] - known["none"]["seconds"] + LATER
    # Side by side with a run that sends nothing: both are as slow as the machine is
    for _ in range(TRIES):
        ran, none = await asyncio.gather(idem.state(place, tmp_path, down), idem.state(place, tmp_path, None))
        assert (ran.code, none.code) == (known[f"{broker} down"]["code"], known["none"]["code"])
        assert "cannot connect to" in ran.err
        assert "error callback" not in ran.err
        if ran.seconds - none.seconds <= allowed:
            return
    pytest.fail(f"it took {ran.seconds:.1f} s with the broker down, {none.seconds:.1f} s without a profile")


async def test_a_run_without_a_matching_profile_says_so_in_one_quiet_line(place, tmp_path):
    # Given no profile at all: nobody asked for events
    silent, ran = await asyncio.gather(
        idem.state(place, tmp_path, None), idem.state(place, tmp_path, None, "--log-level", "info")
    )
    # Then there is one line, for those who want to know
    assert "profile" not in silent.err
    assert "WARNING" not in silent.err
    assert ran.err.count("no profile matches") == 1
    assert "WARNING" not in ran.err

    # Given a profile for other events, then one line says what its events would have needed
    ran = await idem.state(place, tmp_path, {"internal": {"shop": {}}})
    assert ran.err.count("no profile matches") == 1
    assert "unmatched" not in ran.err


@pytest.mark.parametrize("project", ["evbus-pika==5.0.0", "evbus-kafka==5.0.0"])
def test_a_plugin_of_pop_evbus_beside_us_is_refused_in_one_sentence(place, tmp_path, project):
    # Given the real plugin, in front of the environment
    site, name = tmp_path / "site", project.partition("==")[0]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--target", str(site), project], check=True, timeout=300)
    # When idem is run
    ran = subprocess.run(
        [place / "bin" / "idem", "state", idem.HERE / idem.SLS],
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=idem.SECONDS,
    )
    # Then it ends before it does anything, and says what to do
    assert ran.returncode != 0
    last = ran.stderr.strip().splitlines()[-1]
    assert last.startswith(f"evbus_like.engine.errors.LifecycleError: {name} is installed beside evbus-like (in {site}")
    assert "every event would be sent twice: pip uninstall" in last
    assert "compat" in last


def test_idem_reads_the_settings_of_the_bus_in_its_section_evbus(place, tmp_path):
    code = (
        "import pop.hub; hub = pop.hub.Hub(); hub.pop.sub.add(dyne_name='idem');"
        "hub.pop.config.load(hub.idem.CONFIG_LOAD, cli='idem', parse_cli=False);"
        "from evbus_like.hub.profiles import settings;"
        "print(settings.config(hub, 'stop_grace'), settings.config(hub, 'put_timeout'), hub.OPT.evbus.serial_plugin)"
    )
    ran = subprocess.run(
        [place / "bin" / "python", "-c", code],
        env={**os.environ, "EVBUS_PUT_TIMEOUT": "7"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=idem.SECONDS,
    )
    assert ran.stdout.split() == ["1.0", "7.0", "pop_json"], ran.stderr
