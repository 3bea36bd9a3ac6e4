"""Connections to the outbox's file: what is refused when they are made, and what SQLite's errors mean."""

import errno
import sqlite3
from pathlib import Path

import pytest

from evbus_like.engine.outbox import connection


def test_a_place_without_a_write_ahead_log_is_refused():
    with pytest.raises(sqlite3.OperationalError, match=r"no write-ahead log .* \(journal mode 'memory'\)"):
        connection.connect(Path(":memory:"))


def test_a_reader_can_write_nothing(tmp_path):
    connection.connect(tmp_path / "outbox.sqlite").close()
    reader = connection.connect_readonly(tmp_path / "outbox.sqlite")

    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("CREATE TABLE mine (x)")
    reader.close()


def test_a_reader_of_a_file_that_is_not_there_is_an_error_with_advice(tmp_path):
    path = tmp_path / "none.sqlite"
    with pytest.raises(sqlite3.OperationalError) as raised:
        connection.connect_readonly(path)

    told = str(connection.storage_error(str(path), raised.value, "read"))
    assert f"the outbox {path} cannot be read: " in told
    assert "check that its folder exists" in told
    assert not path.exists()


def test_a_file_that_is_no_database_is_damaged_and_a_full_disk_is_not(tmp_path):
    (tmp_path / "text").write_text("this is no database, but a text of some length" * 100)
    with pytest.raises(sqlite3.DatabaseError) as raised:
        connection.connect(tmp_path / "text")
    full = OSError(errno.ENOSPC, "No space left on device")

    assert connection.is_damage(raised.value)
    assert connection.is_storage(raised.value)
    assert connection.is_suspect(raised.value)
    assert connection.is_storage(full)
    assert "check the disk" in str(connection.storage_error("outbox.sqlite", full))
    assert not connection.is_storage(sqlite3.IntegrityError("a row like this is there"))


def test_an_error_of_our_own_gets_no_second_advice():
    told = connection.storage_error("outbox.sqlite", OSError("another process has it: end that one"))
    assert str(told) == "the outbox outbox.sqlite cannot be written: another process has it: end that one"
