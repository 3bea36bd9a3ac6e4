"""cli/file.py: what is at the path of an outbox is named, and never taken for an outbox that does not exist."""

import os

import pytest

from evbus_like.cli import file
from evbus_like.engine.outbox import StorageError
from evbus_like.engine.outbox.inspect import summarize


def link(path):
    path.symlink_to(path.name)  # to itself


def below_a_file(path):
    path.parent.rmdir()
    path.parent.write_text("x")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (os.mkdir, "is a folder"),
        (os.mkfifo, "is a FIFO, not an outbox"),
        (link, "is a symbolic link, not an outbox"),
        (below_a_file, "cannot be read: .*Not a directory"),
    ],
)
def test_what_is_no_file_is_named_and_is_not_an_outbox_that_does_not_exist(tmp_path, make, said):
    path = tmp_path / "folder" / "o.sqlite"
    path.parent.mkdir()
    make(path)
    with pytest.raises(StorageError, match=said):
        file.there(path)


@pytest.mark.parametrize(("content", "there"), [(None, False), (b"", False), (b"x", True)])
def test_an_outbox_is_a_file_that_holds_something(tmp_path, content, there):
    path = tmp_path / "o.sqlite"
    if content is not None:
        path.write_bytes(content)
    assert file.there(path) is there


@pytest.mark.parametrize("content", [b"notes of somebody", b"SQLite format 3\0", os.urandom(5000)])
def test_a_file_that_was_never_an_outbox_is_not_called_a_damaged_one(tmp_path, content):
    path = tmp_path / "o.sqlite"
    path.write_bytes(content)
    with pytest.raises(StorageError, match="is not an outbox, nor a damaged one"), file.reading(path):
        summarize(path)
    (tmp_path / "o.sqlite.lock").touch(0o600)  # an outbox was open here
    with pytest.raises(StorageError, match=r"is damaged .* Start the bus"), file.reading(path):
        summarize(path)
