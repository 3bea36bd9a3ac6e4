"""The outbox and a process that is killed at any moment: what an append returned for is there afterwards."""

import asyncio
import random
import resource
import signal

import pytest

from evbus_like.engine.outbox import Outbox
from tests.unit.fakes import HANG
from tests.unit.outboxes import opened, spawn

APPENDS = """
    import asyncio, os, sys
    from evbus_like.engine.outbox import Outbox
    from tests.unit.outboxes import append_one, make

    async def appends(outbox, task):
        n = 0
        while True:
            event = make(b"%d %d " % (task, n) + b"x" * (n * 37 % 5000))
            seq = await append_one(outbox, event, ["a", "b"] if n % 2 else ["a"])
            os.write(1, f"{seq} {event.id} {task} {n}\\n".encode())
            if n % 3 == 2:
                outbox.settle("a", [seq])
                os.write(1, f"settled {seq}\\n".encode())
            n += 1

    async def main():
        outbox = Outbox(sys.argv[1])
        outbox.open()
        os.write(1, b"open\\n")
        await asyncio.gather(*(appends(outbox, task) for task in range(int(sys.argv[2]))))

    asyncio.run(main())
"""
LIMITED = """
    import asyncio, resource, signal, sys
    from evbus_like.engine.outbox import Outbox, StorageError
    from tests.unit.outboxes import append_one, make

    async def main():
        outbox = Outbox(sys.argv[1])
        outbox.open()
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
        taken = refused = 0
        while refused < 3:
            try:
                await append_one(outbox, make(b"x" * 20_000), ["a"])
                taken += 1
            except StorageError as error:
                assert "cannot be written" in str(error), error
                refused += 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await append_one(outbox, make(b"later"), ["a"])
        assert outbox.counts().pending == {"a": taken + 1}
        await outbox.close()
        print("taken", taken)

    asyncio.run(main())
"""


@pytest.mark.parametrize("tasks", [1, 20])
@pytest.mark.parametrize("seed", range(4))
async def test_after_a_kill_everything_is_there_that_an_append_returned_for(tmp_path, tasks, seed):
    path = tmp_path / "outbox.db"
    process = await spawn(APPENDS, path, tasks)
    async with asyncio.timeout(2 * HANG):
        assert await process.stdout.readline() == b"open\n"
        first = await process.stdout.readline()  # on a busy machine it may come late
        reading = asyncio.create_task(process.stdout.read())
        await asyncio.sleep(random.Random(seed).random() * 0.2)
        process.send_signal(signal.SIGKILL)
        lines = (first + await reading).decode().split("\n")[:-1]  # the last may be torn
        await process.wait()

    appended = {int(line.split()[0]): line.split()[1:] for line in lines if not line.startswith("settled")}
    settled = {int(line.split()[1]) for line in lines if line.startswith("settled")}
    async with opened(path) as outbox:
        a = dict(await outbox.page("a", 0, 10**6, 10**9))
        b = dict(await outbox.page("b", 0, 10**6, 10**9))
        counts = outbox.counts()

    assert appended
    assert {seq: event.id for seq, event in a.items()}.items() >= {
        (seq, id_) for seq, (id_, _, _) in appended.items() if seq not in settled
    }
    assert b.keys() >= {seq for seq, (_, _, n) in appended.items() if int(n) % 2}
    assert len(a.keys() - appended.keys()) <= tasks  # each had one append on its way
    assert counts.pending == {name: len(page) for name, page in (("a", a), ("b", b)) if page}
    for task in range(tasks):
        mine = [int(event.body.split()[1]) for event in b.values() if event.body.startswith(b"%d " % task)]
        assert mine == sorted(mine)


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit on the size of files")
async def test_files_that_may_not_grow_fail_appends_until_they_may(tmp_path):
    path = tmp_path / "outbox.db"
    process = await spawn(LIMITED, path)
    async with asyncio.timeout(2 * HANG):
        output, _ = await process.communicate()

    assert process.returncode == 0, output.decode()
    taken = int(output.split()[-1])
    assert taken > 5
    async with opened(path) as outbox:
        assert outbox.counts().pending == {"a": taken + 1}
        assert [len(event.body) for _, event in await outbox.page("a", 0, 1000, 10**9)] == [20_000] * taken + [5]


async def test_a_process_that_ends_without_closing_loses_nothing(tmp_path):
    script = """
        import asyncio, sys
        from evbus_like.engine.outbox import Outbox
        from tests.unit.outboxes import append_one, make

        outbox = Outbox(sys.argv[1])
        outbox.open()
        asyncio.run(append_one(outbox, make(1), ["a"]))
    """
    process = await spawn(script, tmp_path / "outbox.db")
    async with asyncio.timeout(HANG):
        output, _ = await process.communicate()

    assert (process.returncode, output) == (0, b"")
    outbox = Outbox(tmp_path / "outbox.db")
    assert outbox.open() is None
    assert outbox.counts().pending == {"a": 1}
    await outbox.close()
