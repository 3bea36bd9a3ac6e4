"""`evbus run`, alone or with workers, on a queue of RabbitMQ that was filled before: events handled a second."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import fill
from measure import Clock, bodies, config

APP = Path(__file__).parent / "processes_app"
QUEUE, EXCHANGE = "evt-bench-bench--worker.work", "bench.events"


async def main() -> None:
    """Run the leg."""
    asked = config()
    count = asked["events"]
    await fill.queue(asked["amqp_url"], QUEUE, bodies(asked, count), EXCHANGE)
    with tempfile.TemporaryDirectory(prefix="evbus-bench-") as name:
        folder = Path(name)
        credentials, gate, handled = folder / "acct.json", folder / "gate", folder / "handled"
        credentials.write_text(json.dumps({"amqp": {"default": {"connection": {"url": asked["amqp_url"]}}}}))
        credentials.chmod(0o600)
        more = {"BENCH_GATE": gate, "BENCH_HANDLED": handled, "BENCH_BURN": asked["burn"], "PYTHONPATH": APP}
        command = ["-m", "evbus_like", "run", "--json", "--app", "work", "--acct-file", str(credentials)]
        command += ["--processes", str(asked["processes"])] if asked["processes"] else []
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            env={**os.environ, "XDG_STATE_HOME": name, **{key: str(value) for key, value in more.items()}},
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        while b'"event": "receiving"' not in (line := await process.stdout.readline()):
            if not line:
                raise SystemExit("the workers do not receive")
        gate.touch()
        clock = Clock()
        while not handled.exists() or handled.stat().st_size < count:  # noqa: ASYNC110 - a file tells of nothing
            await asyncio.sleep(0.002)
        clock.stop(count, sent=0, left=handled.stat().st_size - count)
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    if left := await fill.remove(asked["amqp_url"], QUEUE, EXCHANGE):
        raise SystemExit(f"{left} events were not acknowledged")


asyncio.run(main())
