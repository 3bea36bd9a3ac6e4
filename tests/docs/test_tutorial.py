"""The tutorial works as written: a reader pastes its blocks, one after another, into the terminals that it names."""

from __future__ import annotations

import queue
import signal
import subprocess
import threading
import time

import aio_pika
import pytest

from tests.docs.blocks import DOCS, blocks, environment, matches, replaced, run, session

PAGE_URL = "amqp://guest:guest@localhost/"
QUEUES = ("rpc-orders", "evt-orders-placed--shipping.ship", "evt-orders-placed--shipping.ship.dead")
HANG = 60.0  # seconds until a terminal must have shown what the page says


@pytest.fixture
async def fresh_rabbitmq(rabbitmq):
    """A RabbitMQ without the queues of an earlier run of the tutorial."""
    await delete_leftovers(rabbitmq.url)
    yield rabbitmq
    await delete_leftovers(rabbitmq.url)


async def delete_leftovers(url):
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        for name in QUEUES:
            await channel.queue_delete(name)


class Terminal:
    """A terminal in which a command runs until Ctrl-C."""

    def __init__(self, command, folder):
        self.process = subprocess.Popen(
            command.split(), cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._lines = queue.Queue()
        self._seen = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(line)

    def until(self, expected):
        """Wait until the terminal has shown these lines since the last time."""
        until = time.monotonic() + HANG
        while not matches(["...", *expected, "..."], "\n" + "".join(self._seen)):
            try:
                self._seen.append(self._lines.get(timeout=max(0.0, until - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f"{expected} did not come in {HANG:g} s; shown: {''.join(self._seen)}") from None
        self._seen.clear()

    def close(self):
        """Press Ctrl-C, and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(HANG)
        self._reader.join(HANG)
        self.process.stdout.close()
        return code


def test_the_blocks_of_the_tutorial_do_what_it_shows(tmp_path, fresh_rabbitmq):
    folder = tmp_path / "shop-tutorial"
    folder.mkdir()
    terminals = {}
    commands = 0
    try:
        for block in blocks(DOCS / "tutorial.md"):
            text = replaced(block.text, {PAGE_URL: fresh_rabbitmq.url})
            if not block.runs:
                continue
            if block.caption.startswith("Terminal"):
                if block.language == "text":
                    terminals[block.caption].until(text.splitlines())
                else:
                    ((command, expected),) = session(text)
                    terminals[block.caption] = Terminal(command, folder)
                    terminals[block.caption].until(expected)
            elif block.caption:
                file = folder / block.caption
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            else:
                assert block.language == "console"
                for command, expected in session(text):
                    ran = run(command, folder)
                    assert ran.returncode == 0, f"{command} ended with {ran.returncode}:\n{ran.stdout}"
                    assert matches(expected, ran.stdout), f"{command} printed:\n{ran.stdout}"
                    commands += 1
    finally:
        codes = [terminal.close() for terminal in terminals.values()]
    assert codes == [0, 0]
    assert commands > 8


def test_a_handler_comes_at_step_three_and_only_the_installation_is_not_run():
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    assert "\n## 3. A handler\n" in text
    assert [block.text.splitlines()[0] for block in blocks(DOCS / "tutorial.md") if not block.runs] == [
        "$ mkdir shop-tutorial && cd shop-tutorial"
    ]
