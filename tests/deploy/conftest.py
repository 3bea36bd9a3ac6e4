"""An application to deploy, a service manager that listens, and a Prometheus."""

import re
import socket
import subprocess

import pytest
import yaml

from tests.brokers.ports import free_port
from tests.deploy.programs import DEPLOY, program


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with an application of one handler, and credentials for a profile in memory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "shop" / "handler").mkdir(parents=True)
    (tmp_path / "shop" / "conf.py").write_text('DYNE = {"handler": ["handler"]}\n')
    (tmp_path / "shop" / "handler" / "shipping.py").write_text(
        "import evbus_like.handlers as evbus\n\n"
        '@evbus.handler("orders", "placed")\nasync def ship(hub, event):\n    pass\n'
    )
    (tmp_path / "credentials.yml").write_text("internal:\n  default: {}\n")
    (tmp_path / "credentials.yml").chmod(0o600)
    return tmp_path


@pytest.fixture
def manager(tmp_path):
    """A socket that hears what a service tells systemd, and its address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        address = str(tmp_path / "notify")
        listening.bind(address)
        listening.settimeout(60)
        yield listening, address


@pytest.fixture
def prometheus(tmp_path):
    """A function that starts a Prometheus, which reads a target four times a second, and gives its URL.

    Minutes in the rules are seconds here.
    """
    binary, port, processes = program("prometheus", "Debian's package prometheus"), free_port(), []
    rules = re.sub(r"for: \d+m", "for: 1s", (DEPLOY / "prometheus" / "rules.yml").read_text())
    (tmp_path / "rules.yml").write_text(re.sub(r"\b(5|10|15|30)m\b", "10s", rules))

    def start(target):
        scrape = {"job_name": "evbus", "static_configs": [{"targets": [target]}]}
        often = {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "500ms"}
        config = {"global": often, "rule_files": ["rules.yml"], "scrape_configs": [scrape]}
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
        options = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
        command = [binary, *options, f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
        processes.append(subprocess.Popen(command))
        return f"http://127.0.0.1:{port}"

    yield start
    for each in processes:
        each.kill()
        each.wait()
