"""A child process and the bus of its parent."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, os
import pop.hub

async def main():
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    listener = asyncio.create_task(hub.evbus.init.start({"internal": {"default": None}}))
    await hub.evbus.init.join()
    child = os.fork()
    if not child:
        try:
            hub.evbus.broker.put_nowait("k", 1)
        except Exception as error:
            print(type(error).__name__, error, flush=True)
        try:
            await hub.evbus.init.stop()
        except Exception as error:
            print(type(error).__name__, error, flush=True)
        other = pop.hub.Hub()
        other.pop.sub.add(dyne_name="evbus")
        other.evbus.broker.put_nowait("k", 1)
        print("a hub of its own:", other.evbus.BUS.qsize(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    await hub.evbus.broker.put("k", 2)
    account = await hub.evbus.init.stop(5)
    await listener
    print("parent:", account.delivered, flush=True)

asyncio.run(main())
"""


def test_a_forked_child_gets_a_clear_error_and_the_parent_goes_on():
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    first, stop, second, third = ran.stdout.splitlines()
    assert first.startswith("LifecycleError this process was forked")
    assert stop == first
    assert second == "a hub of its own: 1"
    assert third == "parent: 1"


BLOCKING = """
import asyncio, os, sys
from evbus_like.testing import new_hub

def tries(what, call):
    try:
        print(what, call(), flush=True)
    except Exception as error:
        print(what, type(error).__name__, flush=True)

hub = new_hub()
with hub.evbus.init.background({"internal": {"default": None}}) as bus:
    bus.put("k", 1)
    child = os.fork()
    if not child:
        tries("put", lambda: bus.put("k", 2, timeout=3600))
        tries("dispatch", lambda: bus.dispatch("shop", "k", 2, timeout=3600))
        tries("await put", lambda: asyncio.run(hub.evbus.broker.put("k", 2, timeout=3600)))
        tries("call", lambda: asyncio.run(hub.evbus.rpc.call("shop", "sell", timeout=3600)))
        tries("sync", lambda: hub.rpc.shop.sell.sync(timeout=3600))
        sys.exit(3)
    print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    bus.put("k", 3)
print("parent", bus.account.delivered)
"""


def test_a_child_of_a_program_whose_bus_runs_in_a_thread_gets_a_clear_error_at_once():
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", BLOCKING], capture_output=True, text=True, timeout=60)
    refused = [f"{what} LifecycleError" for what in ("put", "dispatch", "await put", "call", "sync")]
    assert ran.stdout.splitlines() == [*refused, "child 3", "parent 2"], ran.stderr


FORKING_METHOD = """
import asyncio
from evbus_like.testing import handling

async def main():
    async with handling() as bus:
        print(await bus.hub.rpc.desk.forks(timeout=50), await bus.hub.rpc.desk.forks(timeout=50))

asyncio.run(main())
"""
DESK = """
import os, sys

async def forks(hub):
    child = os.fork()
    if not child:
        sys.exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def test_a_process_that_a_method_forks_ends_where_the_method_ends(tmp_path):
    (tmp_path / "shop" / "service").mkdir(parents=True)
    (tmp_path / "shop" / "conf.py").write_text('DYNE = {"service": ["service"]}')
    (tmp_path / "shop" / "service" / "desk.py").write_text(DESK)
    program = [sys.executable, "-W", "ignore", "-c", FORKING_METHOD]
    here = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(program, capture_output=True, text=True, timeout=60, env=here)
    assert ran.stdout.split() == ["3", "3"], ran.stderr


THREADS = """
import asyncio, os, sys
from evbus_like.engine.receiving.threads import ContextThreads

def forks():
    child = os.fork()
    if not child:
        sys.exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

async def main():
    asyncio.get_running_loop().set_default_executor(ContextThreads(2))
    print(await asyncio.to_thread(forks), await asyncio.get_running_loop().run_in_executor(None, forks))

asyncio.run(main())
"""


def test_a_process_that_a_thread_of_the_loop_forks_ends_where_its_function_ends():
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", THREADS], capture_output=True, text=True, timeout=60)
    assert ran.stdout.split() == ["3", "3"], ran.stderr


FORKING_HANDLER = """
import asyncio, os, sys
from tests.unit.fakes import until
from tests.unit.sources import Source, consuming

def take(event):
    child = os.fork() if event.id == "1" else 0
    if event.id == "1" and not child:
        {end}
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else "-"
    print("handled", event.id, "child", code, flush=True)

async def take_async(event):
    return take(event)

async def main():
    source = Source()
    source.put(1, 2)
    async with consuming(source, {handler}, is_async={is_async}, max_workers=1):
        await until(lambda: len(source.settled) == 2)
    print(source.settled)

asyncio.run(main())
"""


@pytest.mark.parametrize("handler", ["take", "take_async"])
@pytest.mark.parametrize(
    ("end", "code"), [("sys.exit(3)", 3), ("sys.exit()", 0), ("return", 0), ("raise ValueError", 1)]
)
def test_a_process_that_a_handler_forks_ends_where_the_handler_ends(handler, end, code):
    program = FORKING_HANDLER.format(end=end, handler=handler, is_async=handler == "take_async")
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=60)
    assert ran.stdout.splitlines() == [
        f"handled 1 child {code}",
        "handled 2 child -",
        "[('ack', '1'), ('ack', '2')]",
    ], ran.stderr
    assert ("which it forked, ended with ValueError" in ran.stderr) is (end == "raise ValueError")


INBOX = """
import asyncio, os
from tests.unit.fakes import until
from tests.unit.inboxes import Inbox, consuming_with
from tests.unit.sources import Source

class Said(list):
    def append(self, what):
        print("child" if os.getpid() != parent else "parent", what, flush=True)

parent = os.getpid()

async def take(event):
    if child := os.fork():
        os.waitpid(child, 0)
    else:
        {end}

async def main():
    source, inbox = Source(), Inbox()
    inbox.said = Said()
    source.put(1)
    async with consuming_with(inbox, source, take):
        await until(lambda: source.settled)

asyncio.run(main())
"""


@pytest.mark.parametrize("end", ["return", "raise ValueError"])
def test_a_process_that_a_handler_with_an_inbox_forks_neither_commits_nor_rolls_back(end):
    program = INBOX.format(end=end)
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=60)
    assert ran.stdout.splitlines() == ["parent begin 1", "parent commit 1"], ran.stderr


LOOP = """
import asyncio, os, sys
from evbus_like.testing import new_hub

async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line)

async def main():
    hub = new_hub()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    listener = asyncio.create_task(hub.evbus.init.start({{"internal": {{"default": {{"outbox": "always"}}}}}}))
    await hub.evbus.init.join()
    child = os.fork()
    if not child:
        {end}
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        await asyncio.sleep(0.05)
    writer.write(b"still here\\n")
    async with asyncio.timeout(10):
        print(await reader.readline(), flush=True)
    begun = asyncio.get_running_loop().time()
    for number in range(20):  # each is stored by a thread
        await hub.evbus.broker.put("k", number)
    print("quick", asyncio.get_running_loop().time() - begun < 3.0, flush=True)
    account = await hub.evbus.init.stop(5)
    await listener
    print("child", os.waitstatus_to_exitcode(ended[1]), "parent", account.delivered, flush=True)
    writer.close()
    server.close()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("end", "code"), [("sys.exit(3)", 3), ("return", 0), ("raise ValueError", 1), ("os._exit(4)", 4)]
)
def test_a_child_that_is_forked_in_the_event_loop_and_ends_leaves_the_parents_connections_and_threads(
    end, code, tmp_path
):
    program = [sys.executable, "-W", "ignore", "-c", LOOP.format(end=end)]
    here = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    ran = subprocess.run(program, capture_output=True, text=True, timeout=90, env=here)
    assert ran.stdout.splitlines() == ["b'still here\\n'", "quick True", f"child {code} parent 20"], ran.stderr[-2000:]
