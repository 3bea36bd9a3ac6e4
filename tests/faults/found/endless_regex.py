"""With match_plugin regex, a profile's name such as `(a+)+b` and an event profile of thirty a's stop the process.

Python's `re` holds the GIL while it backtracks: the event loop, all threads and signal handlers stand still, for years.
Nothing is rejected and nothing is bounded (fault 32).
"""

import subprocess
import sys

PROGRAM = """
import asyncio
from evbus_like.testing import new_hub, running

async def main():
    hub = new_hub()
    hub.match.PLUGIN = "regex"
    async with running({"internal": {"(a+)+b": None, "fine": None}}, hub) as hub:
        try:
            await hub.evbus.broker.put("key", 1, "a" * 40)
        except Exception as error:
            print(type(error).__name__)
        await hub.evbus.broker.put("key", 1, "fine", confirm="delivered")
        print("alive")

asyncio.run(main())
"""


def test_a_pathological_regex_is_refused_or_bounded():
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=20)
    assert ran.returncode or "alive" in ran.stdout, ran.stderr
