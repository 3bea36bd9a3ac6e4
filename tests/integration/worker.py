"""A worker process for tests: handlers that log their events.

`python -m tests.integration.worker PLAN` with a plan in JSON: `profiles`, `handler` (keywords of sources.handler),
`file` for one JSON line per event, `seconds` that handling one takes. Prints "ready"; SIGTERM stops it.
"""

import asyncio
import json
import os
import signal
import sys
import time

from tests.integration.sources import handler, receiving, stats_of


async def work(plan):
    """Receive until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    with open(plan["file"], "a", buffering=1) as file:  # noqa: ASYNC230 - a line is written at once

        def note(event, what):
            line = {"what": what, "id": event.id, "key": event.routing_key, "body": event.body, "pid": os.getpid()}
            line |= {"attempt": event.attempt, "redelivered": event.redelivered, "time": time.time()}
            file.write(json.dumps(line) + "\n")

        async def take(event):
            note(event, "begun")
            await asyncio.sleep(plan.get("seconds", 0.0))
            note(event, "done")

        async with receiving(plan["profiles"], handler(take, **plan["handler"])) as group:
            print("ready", flush=True)
            await stopped.wait()
        print(json.dumps(stats_of(group)), flush=True)


if __name__ == "__main__":
    asyncio.run(work(json.loads(sys.argv[1])))
