"""hub/outbox_place.py: each application has an outbox of its own, and an older one is not forgotten."""

import asyncio
import logging
import os
import pwd
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from evbus_like.cli import file
from evbus_like.engine.files import resolve
from evbus_like.hub import outbox, outbox_place
from tests.unit.outboxes import append_one, make, opened


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("EVBUS_OUTBOX", raising=False)
    return tmp_path / "state" / "evbus_like"


def hub(**options):
    return SimpleNamespace(OPT={"evbus_like": options})


@pytest.fixture
def script(tmp_path, monkeypatch):
    def run(name):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        monkeypatch.setattr(sys, "argv", [str(path)])
        return outbox_place.application(hub())

    return run


def test_the_name_of_the_service_or_the_packages_name_the_folder(state):
    assert outbox_place.default_path(hub(service_name="shop")) == state / "shop" / "outbox.sqlite"
    assert outbox_place.default_path(hub(app=["mail", "bill"])) == state / "bill-mail" / "outbox.sqlite"
    assert outbox_place.default_path(hub(service_name="../../etc/x")).parent.parent == state


def test_two_programs_have_two_outboxes_and_each_keeps_its_own(script):
    names = [script(name) for name in ("a/run.py", "b/run.py", "a/other.py", "pkg/__main__.py", "a/run.py")]

    assert len(set(names)) == 4
    assert names[0] == names[4]
    assert names[0].startswith("run-")
    assert names[3].startswith("pkg-")


def test_two_folders_in_which_the_command_runs_have_two_outboxes(script, tmp_path, monkeypatch):
    names = []
    for folder in ("one/shop", "two/shop", "one/shop"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        names.append(script("venv/bin/evbus"))

    assert names[0] != names[1]
    assert names[0] == names[2]
    assert names[0].startswith("shop-")


async def fill(path):
    async with opened(path) as box:
        await append_one(box, make(1), ["internal:x"])


@pytest.mark.parametrize("place", ["outbox.sqlite", "shop-00000000/outbox.sqlite"])
async def test_an_older_outbox_with_events_is_reported_with_what_to_do(
    state, script, caplog, monkeypatch, tmp_path, place
):
    (tmp_path / "shop").mkdir()
    monkeypatch.chdir(tmp_path / "shop")
    script("venv/bin/evbus")
    await fill(state / place)

    box = await outbox.opened(hub(), (), needed=True)
    await box.close()

    [message] = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert f"{state / place} holds 1 events and 0 dead letters" in message
    assert f"EVBUS_OUTBOX={state / place} evbus outbox flush" in message


async def test_outboxes_of_other_programs_and_those_in_use_are_not_reported(state, script, caplog):
    script("a/run.py")
    await fill(state / "mail-12345678" / "outbox.sqlite")
    async with opened(state / "outbox.sqlite") as used:
        await append_one(used, make(1), ["internal:x"])
        box = await outbox.opened(hub(), (), needed=True)
        await box.close()

    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


def test_the_command_takes_the_only_outbox_and_names_them_if_there_are_several(state):
    asyncio.run(fill(state / "mail-12345678" / "outbox.sqlite"))
    assert file.path(hub(service_name="shop")) == state / "mail-12345678" / "outbox.sqlite"

    asyncio.run(fill(state / "outbox.sqlite"))
    path = file.path(hub(service_name="shop"))
    assert path == state / "shop" / "outbox.sqlite"
    assert str(state / "mail-12345678" / "outbox.sqlite") in file.nothing(path)


@pytest.mark.parametrize("home", ["", "relative"])
def test_an_empty_home_is_none_and_the_user_database_says_where_it_is(monkeypatch, home):
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", home)
    own = Path(pwd.getpwuid(os.getuid()).pw_dir)

    assert outbox_place.folder() == own / ".local/state/evbus_like"
    assert outbox.configured(hub(outbox_path="~/o.sqlite")) == own / "o.sqlite"
    assert resolve("~/o.sqlite").parent == Path(os.path.realpath(own))
