"""An installed pop-evbus is refused with a message that says what to do, wherever it is on the path."""

import subprocess
import sys

import pytest

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


def test_a_package_that_is_merely_named_evbus_is_no_conflict(tmp_path):
    folder = tmp_path / "site" / "evbus"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    ran = run(SCRIPT.format(how=f"insert(0, {str(folder.parent)!r})", dyne="evbus"), tmp_path)
    assert ran.stdout == "merged\n", ran.stderr
