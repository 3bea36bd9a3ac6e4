"""A backup of the outbox beside a process that writes, and what is delivered once it is restored, as the page says."""

import asyncio

import pytest

from evbus_like.testing import eventually, new_hub, running
from tests.docs.blocks import DOCS, blocks, run
from tests.unit.fakes import HANG
from tests.unit.outboxes import spawn

SHELL = [block.text for block in blocks(DOCS / "operations.md") if block.language == "shell"]
(BACK_UP,) = [text for text in SHELL if "VACUUM INTO" in text]
(RESTORE,) = [text for text in SHELL if 'cp "$BACKUP"' in text]
PROFILES = {"internal": {"default": {"outbox": "always"}}}
WRITER = """
    import asyncio, os, sys
    from evbus_like.engine.outbox import Outbox
    from tests.unit.outboxes import append_one, make

    async def main():
        outbox = Outbox(sys.argv[1])
        outbox.open()
        number = 0
        while True:
            seq = await append_one(outbox, make(number), ["internal:default"])
            os.write(1, b"%d\\n" % number)
            if number % 3 == 0:
                outbox.settle("internal:default", [seq])  # delivered
            number += 1

    asyncio.run(main())
"""


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A function that runs a block of the page for an outbox and its backup in a folder."""
    own = {"EVBUS_OUTBOX": str(tmp_path / "outbox.sqlite"), "BACKUP": str(tmp_path / "backup.sqlite")}
    monkeypatch.setenv("EVBUS_OUTBOX", own["EVBUS_OUTBOX"])

    async def run_block(text):
        ran = await asyncio.to_thread(run, ["bash", "-euc", text], tmp_path, **own)
        assert (ran.returncode, ran.stdout) == (0, "")

    return run_block


async def received(hub):
    """Give the numbers of the events that the bus delivers."""
    await eventually(lambda: not hub.evbus.init.account().remaining, timeout=HANG)
    queue = await hub.ingress.internal.get("orders.created")
    return [int(queue.get_nowait()) for _ in range(queue.qsize())]


async def test_all_that_was_accepted_before_a_backup_is_delivered_once_it_is_restored(shell, tmp_path, caplog):
    # Given a process that accepts and delivers events all the time
    process = await spawn(WRITER, tmp_path / "outbox.sqlite")
    try:
        accepted = [int(await asyncio.wait_for(process.stdout.readline(), HANG)) for _ in range(200)]
        # When its outbox is backed up meanwhile, and all that it writes later is lost
        await shell(BACK_UP)
        for _ in range(50):
            await asyncio.wait_for(process.stdout.readline(), HANG)
    finally:
        process.kill()
        await process.wait()
    assert (tmp_path / "backup.sqlite").stat().st_mode & 0o077 == 0
    await shell(RESTORE)
    # Then a bus delivers all that was accepted before the backup and not delivered, in order, and reports no damage
    hub = new_hub()
    async with running(PROFILES, hub):
        numbers = await received(hub)
    assert {number for number in accepted if number % 3} <= set(numbers)
    assert numbers == sorted(set(numbers))
    assert "may have lost" not in caplog.text
    assert "were left in the outbox" in caplog.text
    assert (tmp_path / "outbox.sqlite.old" / "outbox.sqlite").exists()
