"""A child process and the bus of its parent."""

import subprocess
import sys

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
    first, second, third = ran.stdout.splitlines()
    assert first.startswith("LifecycleError this process was forked")
    assert second == "a hub of its own: 1"
    assert third == "parent: 1"
