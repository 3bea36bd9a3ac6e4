"""Two processes: `evbus run` serves, this one calls, over RabbitMQ.

The broker: EVBUS_TEST_AMQP_URL, or amqp://guest:guest@localhost/ where that is not set. By hand, in this folder:

    evbus run --acct-file credentials.yml
    evbus rpc far_world.hello name=ann --acct-file credentials.yml
"""

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

import pop.hub

from evbus_like.errors import UnknownService

HERE = Path(__file__).parent
EVBUS = Path(sys.executable).with_name("evbus")
URL = os.environ.get("EVBUS_TEST_AMQP_URL", "amqp://guest:guest@localhost/")
PROFILES = {"amqp": {"default": {"connection": URL}}}


async def main() -> None:
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    listener = asyncio.create_task(hub.evbus.init.start(PROFILES))
    await hub.evbus.init.join()

    with tempfile.TemporaryDirectory() as folder:
        credentials = Path(folder) / "credentials.json"
        credentials.touch(mode=0o600)
        credentials.write_text(json.dumps(PROFILES))
        server = await asyncio.create_subprocess_exec(
            *(EVBUS, "run", "--json", "--acct-file", credentials), cwd=HERE, stdout=asyncio.subprocess.PIPE
        )
        try:
            # A service that nobody has ever served is known at once, and not by a timeout.
            try:
                await hub.rpc.far_mars.hello(timeout=20)
            except UnknownService as error:
                print(error)

            assert server.stdout is not None
            while b'"receiving"' not in await server.stdout.readline():
                pass
            answer = await hub.rpc.far_world.hello("ann", timeout=20)
            print(answer["said"], "- from another process:", answer["process"] not in (0, os.getpid()))
            calls = [hub.rpc.far_world.hello(str(number), timeout=20) for number in range(100)]
            print(len(await asyncio.gather(*calls)), "answers")
        finally:
            server.terminate()
            out, _ = await server.communicate()
        print("served:", json.loads(out.splitlines()[-1])["services"][0]["answered"], "exit code", server.returncode)

    await hub.evbus.init.stop()
    await listener


asyncio.run(main())
