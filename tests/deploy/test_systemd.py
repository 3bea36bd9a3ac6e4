"""The unit for systemd: systemd accepts it, and `evbus run` does what it relies on."""

import re
import shlex
import signal
import subprocess

import pytest

from evbus_like import conf
from evbus_like.cli import main
from tests.deploy.programs import DEPLOY, HANG, program, ran
from tests.integration.commands import EVBUS, environment

UNIT = DEPLOY / "systemd" / "evbus@.service"


def setting(name):
    """Give the one value of a setting in the unit."""
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    return value


@pytest.fixture
def installed(tmp_path):
    """The unit in a folder, for an application that is below that folder; gives the name of a service of it."""
    binary = tmp_path / "srv" / "shop" / "venv" / "bin" / "evbus"
    binary.parent.mkdir(parents=True)
    binary.symlink_to(EVBUS)
    (tmp_path / UNIT.name).write_text(UNIT.read_text().replace("/srv/%i", f"{tmp_path}/srv/%i"))
    return str(tmp_path / "evbus@shop.service")


def test_systemd_finds_nothing_wrong_with_the_unit(installed):
    analyze = program("systemd-analyze", "Debian's package systemd")

    assert ran(analyze, "verify", "--man=no", installed) == (0, "")


def test_the_service_can_do_little_else_than_its_work():
    analyze = program("systemd-analyze", "Debian's package systemd")

    code, out = ran(analyze, "security", "--offline=true", "--no-pager", "--threshold=20", UNIT)

    assert code == 0, out  # at most 2.0 of 10
    assert "OK" in out.splitlines()[-1]


def test_systemd_waits_longer_for_a_stop_than_the_bus_does():
    assert float(setting("TimeoutStopSec")) >= 2 * conf.CONFIG["stop_timeout"]["default"]


def test_a_wrong_setting_does_not_start_it_again_and_again():
    assert int(setting("RestartPreventExitStatus")) == main.UNUSABLE


def told(manager, text):
    """Read what systemd is told until a message has the text."""
    while text not in (message := manager.recv(4096).decode().splitlines()):
        pass
    return message


def test_the_service_is_ready_reloads_and_stops_as_the_unit_says(folder, manager):
    listening, address = manager
    places = {"/srv/%i/venv/bin/evbus": EVBUS, "/etc/evbus/%i": str(folder), "%S/evbus/%i": str(folder / "own")}
    unit = UNIT.read_text()
    for written, here in places.items():
        unit = unit.replace(written, here)
    start = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)[1]
    variables = dict(re.findall(r"^Environment=(\w+)=(\S+)$", unit, re.MULTILINE))
    own = {**environment(credentials=False), "NOTIFY_SOCKET": address, **variables}

    process = subprocess.Popen(
        shlex.split(start), cwd=folder, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert "STATUS=receives" in told(listening, "READY=1")
        assert (folder / "own" / "outbox.sqlite").exists()
        code, out = ran(EVBUS, "status", env=own)  # it finds the process by its socket
        assert (code, f"process {process.pid}" in out) == (0, True), out
        subprocess.run(shlex.split(setting("ExecReload").replace("$MAINPID", str(process.pid))), check=True)
        told(listening, "RELOADING=1")
        told(listening, "READY=1")
        process.send_signal(signal.SIGTERM)
        told(listening, "STOPPING=1")
        _, err = process.communicate(timeout=HANG)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, err
