"""evbus/broker.py: put goes straight to the engine, unless an application wrapped a contract around it."""

import os
import subprocess
import sys

PROGRAM = """
import pop.hub
hub = pop.hub.Hub()
hub.pop.sub.add(dyne_name="evbus")
hub.evbus.broker.put_nowait(routing_key="orders", body=1)
print(hub.evbus.BUS.qsize(), type(hub.evbus.broker.put_nowait).__name__)
"""


def run(site):
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=True
    ).stdout


def test_a_contract_of_an_application_is_called_around_put(tmp_path):
    contracts = tmp_path / "watcher" / "evbus" / "contracts"
    contracts.mkdir(parents=True)
    (tmp_path / "watcher" / "conf.py").write_text('DYNE = {"evbus": ["evbus"]}\n')
    (contracts / "broker.py").write_text(
        "def pre_put_nowait(hub, ctx):\n    print('the contract saw', ctx.kwargs['routing_key'])\n"
    )

    assert run(tmp_path) == "the contract saw orders\n1 Contracted\n"


def test_without_a_contract_put_is_the_engine_s_own(tmp_path):
    assert run(tmp_path) == "1 method\n"
