"""The Dockerfile and the Compose file: their linters accept them, and `evbus run` does what they rely on."""

import asyncio
import json
import re
import subprocess
import sys

import pytest
import yaml

from evbus_like import conf
from tests.brokers.kafka_jars import kafka_version
from tests.deploy.programs import DEPLOY, HANG, program, ran
from tests.deploy.running import bus, status

DOCKER = DEPLOY / "docker"
DOCKERFILE = DOCKER / "Dockerfile"
PYPI = "requirements/test.txt"
TERMINATED = """
import os, signal, sys
from evbus_like.scripts import start

class Terminate:
    def find_spec(self, name, *_):
        if name == "evbus_like.cli.main":
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Terminate())
start()
"""


@pytest.fixture(scope="module")
def compose():
    """The content of the Compose file."""
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


def instruction(name):
    """Give the text of the last instruction of this kind in the Dockerfile, on one line."""
    lines = DOCKERFILE.read_text().replace("\\\n", " ")
    return re.findall(rf"^{name} +(.*)$", lines, re.MULTILINE)[-1]


def variables():
    """Give the environment that the image has."""
    return dict(pair.split("=", 1) for pair in instruction("ENV").split())


def test_hadolint_finds_nothing_wrong_with_the_dockerfile():
    assert ran(program("hadolint", PYPI), DOCKERFILE) == (0, "")


def test_the_compose_file_is_one_by_its_schema():
    code, out = ran(
        program("check-jsonschema", PYPI), "--builtin-schema", "vendor.compose-spec", DOCKER / "compose.yaml"
    )
    assert code == 0, out


async def test_the_image_runs_the_bus_and_sees_whether_it_lives(folder):
    command = json.loads(instruction("CMD"))
    volume = instruction("VOLUME")
    here = {name: value.replace(volume, str(folder)) for name, value in variables().items()} | {"EVBUS_HTTP": "0"}
    arguments = [each.replace("/run/secrets", str(folder)) for each in command]
    probe = json.loads(instruction("HEALTHCHECK").partition("CMD ")[2])

    async with bus(folder, arguments, here) as (process, url):
        probe[-1] = probe[-1].replace(f"http://127.0.0.1:{variables()['EVBUS_HTTP']}", url)
        checked = [sys.executable, *probe[1:]]
        assert (await asyncio.to_thread(ran, *checked))[0] == 0
        # And the command in the container finds it
        assert f"process {process.pid}" in await status(here, url)
    assert (folder / "outbox" / "outbox.sqlite").exists()
    assert (await asyncio.to_thread(ran, *checked))[0] != 0


def test_the_outbox_is_below_the_volume_of_the_image_and_of_compose(compose):
    (volume,) = compose["services"]["bus"]["volumes"]

    assert volume.split(":")[1] == instruction("VOLUME")
    assert variables()["EVBUS_OUTBOX"].startswith(f"{instruction('VOLUME')}/outbox/")


def test_compose_waits_longer_for_a_stop_than_the_bus_does(compose):
    assert int(compose["services"]["bus"]["stop_grace_period"].rstrip("s")) > conf.CONFIG["stop_timeout"]["default"]


def test_the_credentials_fit_the_brokers_of_compose(compose):
    services, profiles = compose["services"], yaml.safe_load((DOCKER / "credentials.yml").read_text())
    rabbitmq, kafka = services["rabbitmq"]["environment"], services["kafka"]["environment"]

    login = f"{rabbitmq['RABBITMQ_DEFAULT_USER']}:{rabbitmq['RABBITMQ_DEFAULT_PASS']}"
    assert profiles["amqp"]["orders"]["connection"] == f"amqp://{login}@rabbitmq/"
    server = profiles["kafka"]["clicks"]["connection"]["bootstrap_servers"]
    assert f"INSIDE://{server}" in kafka["KAFKA_ADVERTISED_LISTENERS"].split(",")
    assert services["kafka"]["image"] == f"apache/kafka:{kafka_version()}"  # that of these tests


def test_a_stop_during_the_start_ends_the_first_process_of_a_container_at_once():
    alone = [program("unshare", "Debian's package util-linux"), "--user", "--map-root-user", "--pid", "--fork"]
    if ran(*alone, "true")[0]:
        pytest.skip("this system lets nobody make a PID namespace")

    done = subprocess.run([*alone, sys.executable, "-c", TERMINATED], capture_output=True, text=True, timeout=HANG)

    assert (done.returncode, done.stderr) == (143, "")
