"""The disk under the application's PostgreSQL is full, while events are stored and relayed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from evbus_like.errors import StorageError
from evbus_like.postgres import ddl
from evbus_like.testing import eventually, running
from tests.brokers.postgres import PostgreSQL
from tests.integration.support import DEADLINE

SIZE = 48 * 1024 * 1024
LARGE = 300_000


@pytest.fixture
def disk(postgres: PostgreSQL, fresh_name: str) -> Iterator[Path]:
    """A small file system, which PostgreSQL can write."""
    place = postgres.scratch / fresh_name
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0777", "none", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system of its own needs the right to mount one")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def shop(postgres: PostgreSQL, disk: Path, fresh_name: str) -> Iterator[str]:
    """A database whose tables are on that disk."""
    name, folder = f"shop_{fresh_name}", disk / "tables"
    folder.mkdir()
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", "nogroup")
    postgres.sql(f"create tablespace \"{name}\" location '{folder}'")
    postgres.sql(f'create database "{name}" tablespace "{name}"')
    postgres.sql(ddl.statements(), name)
    yield name
    postgres.sql(f'drop database "{name}" with (force)')
    postgres.sql(f'drop tablespace "{name}"')


def fill(disk: Path) -> Path:
    """Take what is left of a disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(65536)):
                pass
        except OSError:
            return filler
    return filler


async def put(hub: Any, conn: Any) -> str:
    """Store an event whose body PostgreSQL cannot compress, and return its id once it is committed."""
    try:
        receipt = await hub.evbus.broker.put("x", {"data": os.urandom(LARGE).hex()}, within=conn)
        await conn.commit()
    except StorageError:
        await conn.rollback()
        raise
    return str(receipt.id)


async def put_many(hub: Any, conn: Any, stored: list[str]) -> None:
    """Store more events than fit on the disk, while nothing is removed from it."""
    for _ in range(SIZE // LARGE):
        stored.append(await put(hub, conn))


async def test_while_the_disk_of_the_database_is_full_puts_raise_and_what_was_committed_is_delivered(
    postgres: PostgreSQL, shop: str, disk: Path
) -> None:
    profiles = {
        "internal": {"default": {"routing_key": "all"}},
        "postgres": {"shop": {"connection": postgres.url(shop), "timeout": 3, "lease": 2}},
    }
    stored: list[str] = []
    state = "select (select count(*) from evbus_outbox), sum(delivered), sum(dead_lettered) from evbus_part"
    async with running(profiles) as hub, await psycopg.AsyncConnection.connect(postgres.url(shop)) as conn:
        received = hub.ingress.internal.mailbox("all").items
        stored.append(await put(hub, conn))
        later = (await hub.evbus.broker.put("x", {"data": os.urandom(LARGE).hex()}, within=conn, delay=1)).id
        await conn.commit()

        # When there is no room any more, put raises, and nothing is stored
        filler = fill(disk)
        with pytest.raises(StorageError, match="the disk of the database is full"):
            await put_many(hub, conn, stored)
        await eventually(lambda: {*stored} <= {event.id for event in received}, DEADLINE)

        # Then with room again, events are stored and delivered as before
        filler.unlink()
        stored += [await put(hub, conn) for _ in range(5)]
        await eventually(lambda: {*stored} <= {event.id for event in received}, DEADLINE)
        stored.append(later)
        await eventually(lambda: postgres.sql(state, shop) == f"0|{len(stored)}|0\n", DEADLINE)
        assert {event.id for event in received} == {*stored}
