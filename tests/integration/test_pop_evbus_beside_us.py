"""An installed pop-evbus is refused with a message that says what to do, wherever it is on the path."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import evbus_like

FILES = {
    "evbus/__init__.py": "",
    "evbus/conf.py": 'DYNE = {"evbus": ["evbus"], "ingress": ["ingress"], "serialize": ["serialize"]}',
    "evbus/evbus/init.py": """
def __init__(hub):
    hub.pop.sub.add(dyne_name="ingress")
    hub.pop.sub.add(dyne_name="serialize")
    hub.evbus.BUS = None

async def start(hub, contexts):
    ...
""",
    "evbus/evbus/broker.py": """
async def put(hub, body, profile="default"):
    ...
""",
    "evbus/ingress/contracts/init.py": "async def sig_publish(hub, ctx, body: bytes): ...",
    "evbus/ingress/internal.py": """
ACCT = ["internal"]

async def publish(hub, ctx, body: bytes):
    ...
""",
    "evbus/serialize/json.py": """
def apply(hub, data):
    ...
""",
}

SCRIPT = """
import sys
sys.path.{how}
import pop.hub
hub = pop.hub.Hub()
hub.pop.sub.add(dyne_name={dyne!r})
print("merged")
"""


@pytest.fixture
def pop_evbus(tmp_path):
    """A package with the folders and the contract of pop-evbus 7."""
    for name, text in FILES.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "site"


def run(code, cwd):
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("how", ["insert(0, {!r})", "append({!r})"], ids=["before us", "after us"])
def test_the_bus_refuses_to_be_merged_with_pop_evbus_and_says_what_to_do(pop_evbus, tmp_path, how):
    ran = run(SCRIPT.format(how=how.format(str(pop_evbus)), dyne="evbus"), tmp_path)
    assert "merged" not in ran.stdout
    assert "LifecycleError: pop-evbus is installed beside evbus-like" in ran.stderr
    assert str(pop_evbus) in ran.stderr
    assert "pip uninstall pop-evbus" in ran.stderr


@pytest.mark.parametrize("how", ["insert(0, {!r})", "append({!r})"], ids=["before us", "after us"])
def test_the_command_refuses_to_run_beside_pop_evbus(pop_evbus, tmp_path, how):
    code = f"import sys; sys.path.{how.format(str(pop_evbus))}; sys.argv = ['evbus', 'demo']\n"
    ran = run(code + "from evbus_like.scripts import start; start()", tmp_path)
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr
    assert "pip uninstall pop-evbus" in ran.stderr


PLUGINS = {
    "evbus_pika/conf.py": 'DYNE = {"ingress": ["ingress"]}',
    "evbus_pika/ingress/pika.py": 'ACCT = ["pika"]\nasync def publish(hub, ctx, body):\n    ...\n',
    "evbus_kafka/conf.py": 'DYNE = {"ingress": ["ingress"]}',
    "evbus_kafka/ingress/kakfa_queue.py": 'ACCT = ["kafka"]\nasync def publish(hub, ctx, body):\n    ...\n',
}


@pytest.mark.parametrize("package", ["evbus_pika", "evbus_kafka"])
def test_the_command_refuses_to_run_beside_a_plugin_of_pop_evbus(package, tmp_path):
    for name, text in PLUGINS.items():
        if name.startswith(package):
            path = tmp_path / "site" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); sys.argv = ['evbus', 'check', '--json']\n"
    ran = run(code + "from evbus_like.scripts import start; start()", tmp_path)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"evbus check: {package.replace('_', '-')} is installed beside evbus-like")
    assert ran.stderr.count("\n") == 1
    assert '"kind": "LifecycleError"' in ran.stdout


def test_a_second_copy_of_the_package_is_refused_and_a_link_to_the_same_is_not(tmp_path):
    ours = Path(evbus_like.__file__).parent
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "evbus_like").symlink_to(ours)
    ran = run(SCRIPT.format(how=f"append({str(tmp_path / 'link')!r})", dyne="evbus"), tmp_path)
    assert ran.stdout == "merged\n", ran.stderr

    shutil.copytree(ours, tmp_path / "copy" / "evbus_like")
    ran = run(SCRIPT.format(how=f"append({str(tmp_path / 'copy')!r})", dyne="evbus"), tmp_path)
    assert "merged" not in ran.stdout
    assert f"evbus_like is there 2 times, in {ours} and in {tmp_path / 'copy' / 'evbus_like'}" in ran.stderr


def test_a_package_that_is_merely_named_evbus_is_no_conflict(tmp_path):
    folder = tmp_path / "site" / "evbus"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    ran = run(SCRIPT.format(how=f"insert(0, {str(folder.parent)!r})", dyne="evbus"), tmp_path)
    assert ran.stdout == "merged\n", ran.stderr
