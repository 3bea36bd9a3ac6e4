"""`evbus plugins`: what profiles can use, and where it comes from."""

import json

import pytest

from tests.integration.commands import APPS, evbus

BROKEN = {
    "ingress/fax.py": "ACCT = ['fax']\nREQUIRES = ['no_such_library']\ndef publish(hub, ctx, body): ...\n",
    "ingress/odd.py": "ACCT = ['odd']\nOPTIONS = {'speed': 7}\ndef publish_batch(hub, ctx): ...\n",
    "serialize/crash.py": "import no_such_library\n",
    "match/refused.py": "def __virtual__(hub):\n    return False, 'not on this machine'\n",
}


async def listed(folder):
    code, out, err = await evbus(folder, "plugins", "--json", credentials=False)
    return code, json.loads(out), err


async def test_it_lists_every_plugin_that_ships_with_its_options_file_and_distribution(tmp_path):
    code, found, err = await listed(tmp_path)
    assert (code, err) == (0, "")
    kinds = {(each["kind"], each["name"]): each for each in found["plugins"]}
    assert set(kinds) >= {
        *{("destination", name) for name in ("amqp", "internal", "kafka")},
        *{("source", name) for name in ("amqp", "internal", "kafka")},
        *{("serializer", name) for name in ("json", "msgpack", "str", "yaml")},
        *{("matcher", name) for name in ("exact", "glob", "regex")},
    }
    kafka = kinds["destination", "kafka"]
    assert (kafka["providers"], kafka["trouble"]) == (["kafka"], "")
    assert kafka["file"].endswith("evbus_like/ingress/kafka.py")
    options = {each["name"]: each for each in kafka["options"]}
    assert options["tombstones"]["types"] == ["bool"]
    assert "without a value" in options["tombstones"]["help"]
    assert kinds["serializer", "json"]["content_type"] == "application/json"
    assert {each["name"] for each in found["common_options"]} >= {"serializer", "outbox", "retry"}
    assert {each["package"] for each in found["plugins"]} == {"evbus-like"}


async def test_it_lists_the_plugins_of_packages_in_the_current_folder(tmp_path):
    code, found, _ = await listed(APPS)
    (pigeon,) = [each for each in found["plugins"] if each["name"] == "pigeon"]
    assert code == 0
    assert (pigeon["kind"], pigeon["providers"], pigeon["package"]) == ("source", ["pigeon"], "pigeons")
    assert pigeon["file"].endswith("pigeons/egress/pigeon.py")


@pytest.mark.parametrize("as_json", [True, False])
async def test_a_plugin_that_nobody_can_use_says_why_and_the_exit_code_is_1(package, as_json):
    root = package(BROKEN)
    code, out, _ = await evbus(root, "plugins", *["--json"] * as_json, credentials=False)
    assert code == 1
    text = " ".join(out.split())
    for why in ("it needs the library no_such_library", "No module named 'no_such_library'", "not on this machine"):
        assert why in text or not as_json
    if as_json:
        troubles = {each["name"]: each["trouble"] for each in json.loads(out)["plugins"] if each["trouble"]}
        assert set(troubles) == {"fax", "odd", "crash", "refused"}
        assert "publish_batch has the parameters" in troubles["odd"]
        assert "OPTIONS['speed'] must be" in troubles["odd"]
