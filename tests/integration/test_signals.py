"""SIGTERM and SIGINT, where an application lets them stop the bus."""

import json
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, json, sys
import pop.hub

async def main():
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    away = {"connection": "amqp://localhost:1/", "when_full": "spill"}
    profiles = {"internal": {"default": None}, "amqp": {"away": away}}
    listener = asyncio.create_task(hub.evbus.init.start(profiles))
    await hub.evbus.init.join()
    hub.evbus.init.stop_on_signals(timeout=1)
    for number in range(100):
        await hub.evbus.broker.put("k", number)
        await hub.evbus.broker.put("k", number, profile="away")
    print("ready", flush=True)
    await listener
    print(json.dumps(hub.evbus.init.account().as_dict()), flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_stops_the_bus_within_its_deadline_and_the_account_adds_up(number, tmp_path):
    environment = {"EVBUS_OUTBOX": str(tmp_path / "outbox.sqlite"), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    account = json.loads(out)
    assert process.returncode == 0, err
    assert (account["delivered"], account["spilled"], account["remaining"]) == (100, 100, 0)
    assert number.name in err


RELOADED = """
import asyncio, os, sys
from pathlib import Path
from evbus_like.testing import eventually, new_hub

async def main():
    hub, file = new_hub(), Path(sys.argv[1])
    listener = asyncio.create_task(hub.evbus.init.start(await hub.evbus.acct.profiles(acct_file=str(file))))
    await hub.evbus.init.join()
    hub.evbus.init.reload_on_signal()
    print("ready", flush=True)
    await eventually(lambda: "internal:new" in hub.evbus.init.status()["destinations"])
    await hub.evbus.broker.put("k", 1, profile="new", confirm="delivered")
    await hub.evbus.init.stop()
    await listener

asyncio.run(main())
"""


def test_sighup_reloads_the_file_and_a_wrong_file_is_logged_and_changes_nothing(tmp_path):
    file = tmp_path / "credentials.yml"
    file.write_text("internal: {default: }")
    file.chmod(0o600)
    with subprocess.Popen(
        [sys.executable, "-c", RELOADED, str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            file.write_text("internal: {default: {routing_kye: x}}")
            process.send_signal(signal.SIGHUP)
            said = read_until(process.stderr, "SIGHUP")
            file.write_text("internal: {default: , new: }")
            process.send_signal(signal.SIGHUP)
            said += read_until(process.stderr, "reloaded: 1 added")
            process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0, said
    assert "and are unchanged: profile internal:default: there is no option routing_kye" in said


def read_until(stream, words):
    """The lines up to the one that has these words, or up to the end."""
    lines = []
    for line in stream:
        lines.append(line)
        if words in line:
            break
    return "".join(lines)
