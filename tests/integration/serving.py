"""A process that serves an application's services: `python -m tests.integration.serving FOLDER PROFILES`.

FOLDER contains the application and is added to the path, PROFILES is JSON. Prints "ready"; SIGTERM stops it.
"""

import asyncio
import json
import signal
import sys
from contextlib import asynccontextmanager

from evbus_like.testing import new_hub
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
    command = [sys.executable, "-m", "tests.integration.serving", str(folder), json.dumps(profiles)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
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
