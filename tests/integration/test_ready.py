"""`evbus run` on a new broker: what an application puts when its handlers receive, they get."""

import json
import signal

import pytest

from tests.integration.commands import read_line_with, start_evbus, wait_for_end, write_credentials
from tests.integration.support import create_topic

HANDLER = """
import evbus_like.handlers as evbus

@evbus.handler("{source}", "opened")
async def note(hub, event):
    print("noted", event.body, flush=True)
"""
HELLO = """
async def ready(hub):
    await hub.evbus.broker.dispatch("{source}", "opened", "hello")
"""
BAD = """
async def ready(hub):
    raise SystemExit("no pool")
"""


@pytest.fixture
def folder(tmp_path, fresh_name, monkeypatch):
    """A function that writes an application whose lifespan plugin is this."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def write(text, profiles):
        for name, source in (("handler/shipping", HANDLER), ("lifespan/hello", text)):
            path = tmp_path / "shop" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source.format(source=fresh_name))
        (tmp_path / "shop" / "conf.py").write_text('DYNE = {"handler": ["handler"], "lifespan": ["lifespan"]}\n')
        (tmp_path / "shop" / "__init__.py").write_text("")
        write_credentials(tmp_path, profiles)
        return tmp_path

    return write


@pytest.mark.parametrize("arguments", [(), ("--processes", "2")], ids=["one process", "two processes"])
async def test_on_a_new_broker_handlers_get_what_ready_puts(rabbitmq, folder, arguments):
    process = start_evbus(
        folder(HELLO, {"amqp": {"default": {"connection": {"url": rabbitmq.url}}}}), "run", *arguments
    )
    await read_line_with(process, process.stdout, "noted hello")
    process.send_signal(signal.SIGTERM)
    assert (await wait_for_end(process))[0] == 0


async def test_on_a_new_topic_handlers_get_what_ready_puts(kafka, folder, fresh_name):
    await create_topic(kafka.bootstrap, f"{fresh_name}.events", 2)
    profiles = {"kafka": {"default": {"connection": {"bootstrap_servers": kafka.bootstrap}}}}
    process = start_evbus(folder(HELLO, profiles), "run")
    await read_line_with(process, process.stdout, "noted hello")
    process.send_signal(signal.SIGTERM)
    assert (await wait_for_end(process))[0] == 0


async def test_a_ready_that_fails_ends_the_worker_with_exit_code_one_and_its_reason(folder):
    code, out, err = await wait_for_end(start_evbus(folder(BAD, {"internal": {"default": None}}), "run", "--json"))
    assert code == 1
    assert json.loads(out.splitlines()[-1])["reason"] == "lifespan.hello.ready failed: SystemExit: no pool"
    assert "Traceback" not in err
