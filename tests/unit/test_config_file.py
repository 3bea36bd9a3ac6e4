"""cli/config_file.py: a wrong settings file is refused before pop reads it, and shows no secret."""

import datetime
import os

import pytest
import yaml

from evbus_like.cli import config_file
from evbus_like.engine.errors import SettingError

SECRET = "hunter2"
CONFIGS = {
    "missing": (None, "does not exist"),
    "not yaml": ("a: [", "is not valid YAML"),
    "a list": ("- a", "must be a mapping"),
    "unknown": ("evbus_like: {stop_timout: 1}", "there is no setting stop_timout; did you mean 'stop_timeout'?"),
    "unit": ("evbus_like: {stop_timeout: 10s}", "setting stop_timeout must be a number of seconds from 0"),
    "kind": ("evbus_like: {outbox_path: 7}", "setting outbox_path must be text, not 7 (int)"),
    "not under the section": ("stop_timeout: 1", "stop_timeout must be under evbus_like:"),
    "section": ("evbus-like: {stop_timeout: 1}", "the section evbus-like is not read; did you mean 'evbus_like'?"),
    "empty section": ("evbus_like:", "the section evbus_like must be a mapping of settings, not NoneType"),
    "a secret": (f"evbus_like: {{acct_key:{SECRET}}}", "its name is not shown: it may hold a secret"),
    "a word of yaml": ("evbus_like: {no: 1}", "the name of a setting must be text, not False (bool)"),
    "a renderer": ("#!jinja|yaml\nevbus_like: {}", "its first line names another renderer"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_wrong_settings_file_is_named_with_what_names_it(tmp_path, case):
    content, said = CONFIGS[case]
    path = tmp_path / "settings.yml"
    if content is not None:
        path.write_text(content)

    with pytest.raises(SettingError) as caught:
        config_file.load(str(path), "--config")

    assert str(caught.value).startswith(f"the settings file {path} (--config)")
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_folder_and_a_file_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    with pytest.raises(SettingError, match=r"\(EVBUS_CONFIG\) is a folder, not a file"):
        config_file.load(str(tmp_path), "EVBUS_CONFIG")

    def denied(*_arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", denied)
    with pytest.raises(SettingError, match="cannot be read: Permission denied"):
        config_file.load(str(tmp_path / "file"), "--config")


def test_pop_gets_the_checked_data_and_ints_of_base_60_stay_text(tmp_path):
    path = tmp_path / "settings.yml"
    path.write_text("evbus_like: {stop_timeout: 3}\nshop: {at: 1:30, on: 2026-01-31}\npop_config:\n  log_level: info\n")

    data = config_file.load(str(path), "--config")

    handed = config_file.for_pop(str(path), data)
    with open(handed, "rb") as file:
        assert yaml.safe_load(file) == {**data, "shop": {"at": "1:30", True: datetime.date(2026, 1, 31)}}


def test_a_pipe_is_read_once(tmp_path):
    read_end, write_end = os.pipe()
    os.write(write_end, b"evbus_like: {stop_timeout: 3}")
    os.close(write_end)
    for _ in range(2):
        assert config_file.load(f"/dev/fd/{read_end}", "--config") == {"evbus_like": {"stop_timeout": 3}}
    os.close(read_end)


def test_an_included_file_is_left_to_pop():
    assert config_file.for_pop("/x/settings.yml", {"include": "more.yml"}) == "/x/settings.yml"
