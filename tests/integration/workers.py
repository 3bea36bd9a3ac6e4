"""Worker processes that a test starts, stops and reads."""

import asyncio
import json
import signal
from collections import Counter

from tests import launcher
from tests.integration.support import DEADLINE


class Workers:
    """Processes that run one plan (see worker.py), one for each call of `start`. Use it in an `async with`."""

    def __init__(self, folder, profiles, **options):
        self.folder = folder
        self.plan = {"profiles": profiles, "seconds": options.pop("seconds", 0.0), "handler": options}
        self.running = []
        self.files = []

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_exception):
        for process in self.running:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def start(self, **options):
        """Start a worker and return once it receives."""
        self.files.append(self.folder / f"worker-{len(self.files)}.jsonl")
        plan = {**self.plan, "file": str(self.files[-1]), "handler": {**self.plan["handler"], **options}}
        process = await launcher.start_reading("tests.integration.worker", [json.dumps(plan)])
        self.running.append(process)
        async with asyncio.timeout(DEADLINE):
            assert await process.stdout.readline() == b"ready\n"
        return process

    async def stop(self, process):
        """Stop a worker with SIGTERM, and give its statistics."""
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            answer, _ = await process.communicate()
        return json.loads(answer)

    def notes(self, what="done", worker=None):
        """Give what all workers, or one, have logged so far."""
        files = self.files if worker is None else [self.files[worker]]
        lines = [line for file in files if file.exists() for line in file.read_text().split("\n")[:-1]]
        return [note for note in map(json.loads, lines) if note["what"] == what]

    def handled(self, worker=None):
        """Count how often each event body was handled."""
        return Counter(note["body"] for note in self.notes(worker=worker))
