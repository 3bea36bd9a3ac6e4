"""An option, setting, error or dependency that is not documented is a failing test."""

import re
from importlib import import_module

import pytest

from evbus_like import conf, tls
from evbus_like.amqp import settings as amqp_settings
from evbus_like.cli import main
from evbus_like.engine import account, errors, options, receipt
from evbus_like.engine.sending import destination
from evbus_like.kafka import connection as kafka_connect
from evbus_like.postgres import database as postgres_database
from evbus_like.testing import new_hub
from evbus_like.testing.conformance import Features
from tests.docs.blocks import DOCS, ROOT
from tools import api_reference, command_reference, made_tables

CONTRACT = ROOT / "evbus_like/ingress/contracts/init.py"


def page(name):
    return (DOCS / name).read_text(encoding="utf-8")


def section(text, heading):
    """The text under one heading of the second level."""
    return re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]


def rows(text, prefix=""):
    """The names in backquotes in the first column of a table, without the prefix."""
    cells = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
    names = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}


def plugins():
    hub = new_hub()
    found = {name: dict(mod.OPTIONS) for name, mod in hub.ingress._loaded.items() if name != "init"}
    for name, mod in hub.egress._loaded.items():
        if name != "init":
            found.setdefault(name, {}).update(getattr(mod, "OPTIONS", {}))
    return found


FAMILIES = (errors.EvbusError, errors.PutError)  # which nothing raises as such
PROFILES = page("reference/profiles.md")
BLOCKS = {
    "common": ("Every profile", "", options.COMMON),
    "retry": ("Every profile", "retry.", options.RETRY),
    "amqp-connection": ("amqp", "connection.", amqp_settings.CONNECTION),
    "declare": ("amqp", "declare.", amqp_settings.DECLARE),
    "kafka-connection": ("kafka", "connection.", kafka_connect.CONNECTION),
    "postgres": ("postgres", "", postgres_database.OPTIONS),
    "tls": ("TLS", "ssl.", tls.OPTIONS),
}


def made(name, heading):
    """The table of options that the page shows below a heading."""
    assert f"```{{options}} {name}\n```\n" in section(PROFILES, heading)
    return made_tables.options_table(name)


@pytest.mark.parametrize("name", BLOCKS)
def test_the_page_documents_exactly_the_options_of_a_block(name):
    heading, prefix, specs = BLOCKS[name]
    assert rows(made(name, heading), prefix) == set(specs)


def test_the_page_documents_exactly_the_options_of_every_plugin():
    for plugin, specs in plugins().items():
        assert rows(made(plugin, plugin)) == set(specs), plugin


def test_the_documented_defaults_of_common_options_are_those_of_the_engine():
    lane = destination.LaneOptions()
    for name in ("max_events", "max_bytes", "batch_events", "batch_bytes", "timeout"):
        assert re.search(rf"\(default: {int(getattr(lane, name))}\b", options.COMMON[name][1]), name
    for option, name in (("first", "retry_base"), ("max", "retry_cap"), ("refused_cap", "refused_cap")):
        assert options.RETRY[option][1].endswith(f"(default: {getattr(lane, name):g})")


def settings():
    """The table of settings that the page on the configuration shows."""
    assert "```{settings}\n```\n" in page("reference/configuration.md")
    return made_tables.settings_table()


def test_every_setting_is_documented_with_its_environment_variable():
    text = settings()
    of_the_command = {name for name in conf.CLI_CONFIG if "os" not in conf.CONFIG.get(name, {})}  # in its reference
    assert set(conf.CONFIG) - of_the_command <= rows(text)
    for name, spec in conf.CONFIG.items():
        if "os" in spec:
            assert f"| `{name}` | `{spec['os']}` |" in text


def test_every_setting_shows_its_default():
    text = settings()
    for name, spec in conf.CONFIG.items():
        default = spec["default"]
        if "os" in spec and default not in (None, [], False):
            shown = f"{default:g}" if isinstance(default, float) else str(default)
            assert re.search(rf"^\| `{name}` \|(.*\|)? {shown} \|", text, re.MULTILINE), name


def test_every_error_class_is_documented():
    text = page("reference/errors.md")
    assert "```{errors}\n```\n" in text
    tree = made_tables.error_tree()
    for name, thing in vars(errors).items():
        if isinstance(thing, type) and issubclass(thing, errors.EvbusError):
            assert re.search(rf" {name}$|^{name}$", tree, re.MULTILINE), f"{name} must be in the tree"
            assert thing in FAMILIES or f"`{name}`" in text, f"{name} must be explained"


def test_every_subcommand_and_its_options_are_documented():
    text = page("reference/command.md")
    made = [command_reference.common_options()]
    assert "```{command} common\n```" in text
    for command in main.COMMANDS:
        assert f"## evbus {command}\n\n```{{command}} {command}\n```\n" in text
        made.append(command_reference.part(command))
    shown = "".join(made)
    for name, spec in conf.CLI_CONFIG.items():
        flags = [] if spec.get("positional") else [f"--{name.replace('_', '-')}", *spec.get("options", [])]
        for flag in flags:
            assert flag in shown, flag


def test_every_field_of_the_account_and_of_receipts_is_documented():
    text = page("reference/account.md")
    fields = {*account.SUMMED, "put", "unmatched", "rejected", "queued", "lanes", "balanced", "complete", "as_dict"}
    fields |= {"id", "destinations", "matched", "outcomes", "delivered", "pending"}
    assert {name for name in fields if not re.search(rf"`(account\.)?{name}\b", text)} == set()
    assert {"delivered", "pending", "matched"} <= set(dir(receipt.Receipt))


def test_every_function_on_hub_evbus_is_documented():
    text = page("reference/hub.md")
    hub = new_hub()
    for mod in ("broker", "init", "acct", "events", "handlers", "http", "rpc"):
        shown = section(text, rf"hub\.evbus\.{mod}")
        assert f"```{{api}} evbus_like.evbus.{mod}\n:as: hub.evbus.{mod}\n" in shown
        made = "\n".join(api_reference.functions(import_module(f"evbus_like.evbus.{mod}"), f"hub.evbus.{mod}"))
        for name in hub.evbus._loaded[mod]._funcs:
            if not name.startswith("_") and name != "cli":
                (found,) = re.findall(
                    rf"^`+{{py:function}} hub\.evbus\.{mod}\.{name}\(.*\n(?::\w+:\n)*\n(.*)", made, re.MULTILINE
                )
                assert found, f"hub.evbus.{mod}.{name} has no docstring"


def test_every_name_of_the_public_modules_is_documented():
    text = page("reference/api.md")
    for name in ("handlers", "plugin", "testing", "testing.conformance", "workers", "errors"):
        module = import_module(f"evbus_like.{name}")
        assert f"```{{api}} {module.__name__}\n" in text
        made = "\n".join(api_reference.public(module, module.__name__, []))
        for each in module.__all__:
            assert re.search(rf"^`+{{py:\w+}} {re.escape(module.__name__)}\.{each}\b", made, re.MULTILINE), each


def test_every_dependency_has_a_documented_reason():
    needed = re.findall(r"^([A-Za-z][\w-]*)", (ROOT / "requirements/base.txt").read_text(), re.MULTILINE)
    assert set(needed) == rows(page("dependencies.md"))


def test_the_contracts_name_every_function_and_constant_that_the_bus_looks_for():
    contracts = [ROOT / f"evbus_like/{sub}/contracts/init.py" for sub in ("ingress", "egress", "serialize")]
    contract = "".join(path.read_text(encoding="utf-8") for path in contracts) + page("handlers.md") + page("calls.md")
    hub_layer = "".join(path.read_text() for path in (ROOT / "evbus_like/hub").rglob("*.py"))
    looked_for = re.findall(r'functions\.get\("(\w+)"\)|"(\w+)" in plugin\._funcs|getattr\(plugin, "(\w+)"', hub_layer)
    names = {name for found in looked_for for name in found if name}
    assert len(names) >= 10
    assert {name for name in names if name not in contract} == set()


def test_the_contract_has_no_functions_because_pop_would_refuse_plugins_without_them():
    assert not re.search(r"^(async )?def ", CONTRACT.read_text(encoding="utf-8").split('"""')[2], re.MULTILINE)


def test_the_plugins_page_declares_only_features_that_exist():
    declared = re.search(
        r"Features\((.*?)\)", (ROOT / "examples/evbus-pigeon/tests/test_pigeon.py").read_text(), re.DOTALL
    )[1]
    assert set(re.findall(r"(\w+)=", declared)) <= set(Features.__dataclass_fields__)
