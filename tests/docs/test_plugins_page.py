"""The page on plugins works as written: the package that it shows, examples/evbus-pigeon, is installed and tested."""

import dataclasses
import inspect
import re
import shutil
import sys

import pytest

from evbus_like import errors, plugin
from evbus_like.testing.conformance import Features, SourceFeatures, SourceTarget, Target
from tests.docs.blocks import DOCS, ROOT, blocks, matches, run, session
from tools import api_reference

PAGE = DOCS / "plugins.md"
TEXT = PAGE.read_text(encoding="utf-8")
PACKAGE = ROOT / "examples/evbus-pigeon"
CONTRACTS = {kind: api_reference.contract(f"evbus_like.{kind}.contracts.init") for kind in ("ingress", "egress")}
FILES = {
    str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8")
    for path in PACKAGE.rglob("*")
    if path.suffix in (".py", ".toml", ".yml") and "build" not in path.parts
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The folder of the page's tests, beside the installed package."""
    source, made = tmp_path_factory.mktemp("evbus-pigeon"), tmp_path_factory.mktemp("elsewhere")
    for name, text in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(made / "site"), str(source)]
    ran = run(command, source)
    assert ran.returncode == 0, ran.stdout
    for name in ("tests", "pyproject.toml", "check_types.py", "credentials.yml", "send.py"):
        (shutil.copytree if (source / name).is_dir() else shutil.copy)(source / name, made / name)
    (made / "credentials.yml").chmod(0o600)
    return made


def run_in(project, command):
    return run(command, project, PYTHONPATH=str(project / "site"))


def test_the_destination_of_the_page_passes_the_conformance_suite(project):
    (shown,) = [block.text for block in blocks(PAGE) if block.language == "console"]
    ((command, expected),) = session(shown)
    ran = run_in(project, command)
    assert ran.returncode == 0, ran.stdout
    assert matches([f"...{expected[-1]}..."], ran.stdout), ran.stdout


def test_the_source_of_the_page_passes_the_conformance_suite(project):
    ran = run_in(project, "pytest tests/test_spool.py")
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"39 passed, 15 skipped", ran.stdout), ran.stdout


PROGRAM = """
import asyncio
from evbus_like.testing import new_hub

async def main():
    hub = new_hub()
    contexts = {"match_plugin": "prefix", "shout": {"ord": {"prefix": "heard", "serializer": "csv"}}}
    listener = asyncio.create_task(hub.evbus.init.start(contexts))
    await hub.evbus.init.join()
    await hub.evbus.broker.put("one", ["ann", 3], profile="orders", confirm="delivered")
    await hub.evbus.broker.put("two", ["ben", 4], profile="other")
    await hub.evbus.init.stop()
    await listener

asyncio.run(main())
"""


def test_the_smallest_destination_the_serializer_and_the_matcher_of_the_page_work_together(project):
    ran = run_in(project, [sys.executable, "-c", PROGRAM])
    assert ran.stdout.startswith("heard one ann,3"), ran.stdout
    assert "ben" not in ran.stdout


def test_the_program_of_the_page_sends_an_event(project):
    ran = run_in(project, [sys.executable, "send.py"])
    assert (ran.returncode, ran.stdout) == (0, "heard one 1\n")


def test_the_credentials_file_of_the_page_is_accepted(project):
    ran = run_in(project, "evbus explain orders.new --acct-file credentials.yml")
    assert ran.returncode == 0, ran.stdout
    assert "reaches 1 of 1 profile" in ran.stdout


def test_mypy_accepts_the_plugins_of_the_page(project):
    pytest.importorskip("mypy", reason="make check installs mypy")
    ran = run_in(project, [sys.executable, "-m", "mypy", "--ignore-missing-imports", "check_types.py"])
    assert ran.returncode == 0, ran.stdout


def test_the_page_shows_every_file_of_the_package():
    shown = re.findall(r"^```{literalinclude} \.\./examples/evbus-pigeon/(\S+)\n:caption: \1$", TEXT, re.MULTILINE)
    assert sorted(shown) == sorted(FILES)


def functions(plugin_kind):
    """The functions that a contract lists."""
    return set(re.findall(r"^(?:async )?def (\w+)\(hub", CONTRACTS[plugin_kind], re.MULTILINE))


def members(protocols):
    return {name for each in protocols for name in vars(each) if not name.startswith("_")}


def public(kind):
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Features, {field.name for field in dataclasses.fields(Features)}),
        (SourceFeatures, {field.name for field in dataclasses.fields(SourceFeatures)}),
        (Target, public(Target)),
        (SourceTarget, public(SourceTarget)),
    ],
)
def test_a_table_of_the_page_says_of_every_member_what_it_is(kind, expected):
    path = f"evbus_like.testing.conformance.{kind.__name__}"
    assert f"### `{kind.__name__}`\n" in TEXT
    assert f"```{{members}} {path}\n```\n" in TEXT
    table = api_reference.member_table(path)
    rows = dict(re.findall(r"^\| `(?:async )?(\w+)[^|]* \|[^|]*\| (.*) \|$", table, re.MULTILINE))
    assert set(rows) == expected
    assert [name for name, meaning in rows.items() if len(meaning) < 10] == []


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "ingress",
            members(
                [
                    *(plugin.IngressPlugin, plugin.BatchIngressPlugin, plugin.PublishesNow, plugin.Pings),
                    *(plugin.HasLimits, plugin.Opens, plugin.Closes, plugin.Validates),
                ]
            ),
        ),
        (
            "egress",
            members(
                [
                    *(
                        plugin.EgressPlugin,
                        plugin.Retries,
                        plugin.Sends,
                        plugin.Checks,
                        plugin.Inspects,
                        plugin.LooksAtDeadLetters,
                    ),
                    *(plugin.Opens, plugin.Closes, plugin.Validates),
                ]
            ),
        ),
    ],
)
def test_a_contract_on_the_page_lists_every_function(kind, expected):
    assert f"```{{contract}} evbus_like.{kind}.contracts.init\n```" in TEXT
    assert functions(kind) == expected


def test_the_contract_of_a_destination_names_what_ctx_has():
    assert set(re.findall(r"\bctx\.(\w+)", CONTRACTS["ingress"])) == {"acct", "profile", "blocked", "ask"}


def test_the_contracts_name_the_attributes_of_events_and_subscriptions():
    event = set(re.findall(r"^(\w+)  ", CONTRACTS["ingress"].partition("It has:")[2], re.MULTILINE))
    of_the_bus = {"receipt", "quiet", "seq", "copy", "size", "packed", "make", "fill", "attach"}
    assert public(plugin.Event) - of_the_bus | {"profile"} <= event
    words = set(re.findall(r"\w+", CONTRACTS["egress"]))
    received = set(inspect.signature(plugin.ReceivedEvent).parameters)
    assert public(plugin.Subscription) - {"wants", "service", "name", "identifier"} <= words
    assert received - {"reply_to", "correlation_id"} <= words


def test_every_public_name_of_the_page_exists():
    for module, name in re.findall(r"`evbus_like\.(\w+)\.(\w+)", TEXT):
        if module in ("errors", "plugin"):
            assert name in {"errors": errors, "plugin": plugin}[module].__all__, name
    kinds = set(re.findall(r"`(\w+(?:Error|Event|Refused|Outcome))`", TEXT))
    builtin = {"TimeoutError", "ConnectionError", "OSError"}
    assert kinds - builtin <= {*errors.__all__, *plugin.__all__}


def test_every_python_file_of_the_page_imports_only_public_modules():
    for name, text in FILES.items():
        for module in re.findall(r"(?:from|import) (evbus_like[\w.]*)", text):
            assert module in {"evbus_like", "evbus_like.testing.conformance"}, name
