"""A process that serves an application's services: `python -m tests.integration.serving FOLDER PROFILES`.

FOLDER contains the application and is added to the path, PROFILES is JSON. Prints "ready"; SIGTERM stops it.
"""

import asyncio
import json
import signal
import sys
from contextlib import asynccontextmanager

from evbus_like.testing import new_hub
from tests import launcher
from tests.integration.support import DEADLINE
from tests.rpc import serving


async def serve(profiles):
    """Serve until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    hub = new_hub()
    hub.SEEN = []
    async with serving(hub, profiles, timeout=DEADLINE):
        print("ready", flush=True)
        await stopped.wait()


@asynccontextmanager
async def server(folder, profiles):
    """Run such a process during the block; gives it once it serves."""
    process = await launcher.start_reading("tests.integration.serving", [str(folder), json.dumps(profiles)])
    try:
        async with asyncio.timeout(DEADLINE):
            assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    asyncio.run(serve(json.loads(sys.argv[2])))
