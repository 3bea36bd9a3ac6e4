"""hub/profiles/variables.py: environment variables that were meant as settings are named, those of others are not."""

import asyncio

import pytest

from evbus_like import conf
from evbus_like.hub.profiles.variables import unread

MEANT = {
    "EVBUS_STOP_TIMEOT": "EVBUS_STOP_TIMEOUT",
    "EVBUS_OUTBOX_PATH": "EVBUS_OUTBOX",
    "EVBUS_OUTBX": "EVBUS_OUTBOX",
    "EVBUS_ACCT_FILE": "ACCT_FILE",
    "EVBUS_CONFIG_FILE": "EVBUS_CONFIG",
    "EVBUS_HTTP_PORT": "EVBUS_HTTP",
    "EVBUS_LOG_LEVEL": "--log-level",
    "EVBUS_RELOAD": "--reload",
    "evbus_stop_timeout": "EVBUS_STOP_TIMEOUT",
    "EVUBS_STOP_TIMEOUT": "EVBUS_STOP_TIMEOUT",
}
OF_OTHERS = {
    "EVBUS_SERVICE_HOST": "10.0.0.1",  # Kubernetes, for a service named evbus
    "EVBUS_SERVICE_PORT_HTTP": "9464",
    "EVBUS_HTTP_PORT": "tcp://10.0.0.1:9464",  # and for one named evbus-http
    "EVBUS_HTTP_PORT_9464_TCP_ADDR": "10.0.0.1",
    "EVBUS_PIKA_URL": "amqp://host",
    "EVBUS_WORKER": "1:3:5:0:4",
    "EVENTS": "1",
    "EVBUS_": "",
}


@pytest.mark.parametrize(("variable", "meant"), MEANT.items())
def test_a_variable_that_resembles_ours_is_named_with_ours(variable, meant):
    (text,) = unread({variable: "1", "PATH": "/bin"})
    assert text.startswith(f"no setting is read from {variable}; ")
    assert meant in text


def test_variables_that_are_read_and_those_of_others_are_not_named():
    ours = {spec["os"]: "1" for spec in conf.CONFIG.values() if "os" in spec}
    assert list(unread({**OF_OTHERS, **ours})) == []


@pytest.mark.parametrize(("loaded", "warnings"), [({"evbus_like": {}}, 1), ({}, 0)], ids=["settings", "no settings"])
async def test_an_application_that_reads_the_settings_is_warned_at_start(hub, caplog, monkeypatch, loaded, warnings):
    monkeypatch.setenv("EVBUS_STOP_TIMEOT", "5")
    hub.OPT = loaded
    running = asyncio.create_task(hub.evbus.init.start({"internal": {"default": None}}))
    await hub.evbus.init.join()
    await hub.evbus.init.stop()
    await running
    assert caplog.text.count("EVBUS_STOP_TIMEOT") == warnings
