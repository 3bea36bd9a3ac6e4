"""`evbus run --reload`, as somebody uses it who writes a handler."""

import os
import signal

import pytest

from tests.integration.commands import read_line_with, start_evbus, wait_for_end

HANDLER = """
import sys

import evbus_like.handlers as evbus

print("loaded: VERSION", file=sys.stderr, flush=True)

@evbus.handler("orders", "placed")
async def ship(hub, event):
    pass
"""


@pytest.fixture
def code(tmp_path):
    """The file of a handler."""
    (tmp_path / "shop" / "handler").mkdir(parents=True)
    (tmp_path / "shop" / "conf.py").write_text('DYNE = {"handler": ["handler"]}\n')
    return tmp_path / "shop" / "handler" / "shipping.py"


async def test_a_changed_handler_is_started_again_also_after_a_broken_one(code, tmp_path):
    code.write_text(HANDLER.replace("VERSION", "one"))
    process = start_evbus(tmp_path, "run", "--reload", credentials=False)
    try:
        await read_line_with(process, process.stderr, "loaded: one")
        await read_line_with(process, process.stderr, "every handler receives")
        code.write_text(HANDLER.replace("VERSION", "two"))
        await read_line_with(process, process.stderr, f"{os.path.join('shop', 'handler', 'shipping.py')} has changed")
        await read_line_with(process, process.stderr, "loaded: two")
        code.write_text("this is no Python")
        await read_line_with(process, process.stderr, "ended with exit code 2; it starts again")
        code.write_text(HANDLER.replace("VERSION", "three"))
        await read_line_with(process, process.stderr, "loaded: three")
        await read_line_with(process, process.stderr, "every handler receives")
        process.send_signal(signal.SIGTERM)
        returned, _, _ = await wait_for_end(process)
    finally:
        process.kill()
        process.wait()
    assert returned == 0
