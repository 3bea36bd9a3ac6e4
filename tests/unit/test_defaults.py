"""hub/profiles/settings.py: where a setting comes from."""

import pytest

from evbus_like.engine.errors import SettingError
from evbus_like.hub.profiles import settings


@pytest.mark.parametrize(
    ("evbus", "serialize", "config", "chosen"),
    [
        (None, None, None, "json"),
        (None, None, "yaml", "yaml"),
        (None, "msgpack", "yaml", "msgpack"),
        ("str", "msgpack", "yaml", "str"),
        ("json", "msgpack", "yaml", "json"),
        (None, "json", "yaml", "json"),
    ],
)
def test_evbus_goes_before_serialize_and_both_before_the_configuration(hub, evbus, serialize, config, chosen):
    if config:
        hub.OPT = {"evbus_like": {"serial_plugin": config}}
    if serialize:
        hub.serialize.PLUGIN = serialize
    if evbus:
        hub.evbus.SERIAL_PLUGIN = evbus

    assert settings.serializer_name(hub) == chosen


@pytest.mark.parametrize(
    ("contexts", "plugin", "config", "chosen"),
    [
        ({}, None, None, "glob"),
        (None, None, "exact", "exact"),
        ({}, "regex", "exact", "regex"),
        ({"match_plugin": "exact"}, "regex", "glob", "exact"),
    ],
)
def test_the_contexts_choose_the_matcher_before_the_hub_and_the_configuration(hub, contexts, plugin, config, chosen):
    if config:
        hub.OPT = {"evbus_like": {"match_plugin": config}}
    if plugin:
        hub.match.PLUGIN = plugin

    assert settings.matcher_name(hub, contexts) == chosen


def test_settings_of_pop_evbus_apps_are_read_too(hub):
    assert settings.config(hub, "error_callback_ref", "nothing") == "nothing"
    hub.OPT = {"evbus": {"error_callback_ref": "app.errors"}}

    assert settings.config(hub, "error_callback_ref") == "app.errors"


def test_a_wrong_setting_of_a_pop_evbus_app_is_named_with_its_section(hub):
    hub.OPT = {"evbus": {"stop_grace": "soon"}}

    with pytest.raises(SettingError, match=r"setting stop_grace must .*\(hub\.OPT\.evbus\.stop_grace\)"):
        settings.config(hub, "stop_grace")
