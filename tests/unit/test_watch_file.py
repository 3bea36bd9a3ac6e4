"""processes/watch.py: a file that others replace."""

import os

import pytest

from evbus_like.processes.watch import watching
from tests.unit.fakes import until


@pytest.fixture
async def seen(tmp_path):
    """A secret as Kubernetes mounts it; gives its path and the contents that were found after each change."""
    for name, text in (("one", "1"), ("two", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.yml").write_text(text)
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "file.yml").symlink_to("..data/file.yml")
    path, found = tmp_path / "file.yml", []
    async with watching(str(path), lambda: found.append(path.read_text()), every=0.005):
        yield path, found


async def test_a_link_in_a_folder_above_that_is_replaced_is_noticed(seen):
    path, found = seen
    (path.parent / "new").symlink_to("two")
    os.rename(path.parent / "new", path.parent / "..data")
    await until(lambda: found == ["2"])


async def test_a_file_that_is_written_again_is_noticed_and_one_that_is_gone_is_waited_for(seen):
    path, found = seen
    path.write_text("written again")
    await until(lambda: found == ["written again"])
    path.unlink()
    path.write_text("a file now")
    await until(lambda: found == ["written again", "a file now"])


async def test_a_file_that_stays_is_no_change_and_no_file_needs_no_watch(seen):
    path, found = seen
    os.stat(path)
    async with watching(None, found.clear):
        await until(lambda: path.exists())
    assert found == []
