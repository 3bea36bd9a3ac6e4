"""What a start imports: a program that only puts does without what receives, calls, or speaks to brokers."""

import json

import pytest

# Modules that are imported when they are first needed: clients, libraries, and our own larger parts.
LATER = (
    "aio_pika",
    "aiokafka",
    "aiormq",
    "cryptography",
    "jinja2",
    "msgspec",
    "regex",
    "evbus_like.hub.application.binding",
    "evbus_like.hub.application.rpc_clients",
    "evbus_like.memory.feed",
    "evbus_like.hub.application.services",
    "evbus_like.engine.receiving.consumer",
    "evbus_like.engine.rpc.client",
    "evbus_like.engine.middleware",
    "evbus_like.engine.rpc.service",
)


@pytest.fixture
def imported(run_python):
    """A function that gives those of LATER that a program has imported after a start, a put, and some last steps."""
    lines = [
        "import asyncio, json, sys",
        "import pop.hub",
        "async def main():",
        "    hub = pop.hub.Hub()",
        "    hub.pop.sub.add(dyne_name='evbus')",
        "    listener = asyncio.create_task(hub.evbus.init.start({'internal': {'default': None}}))",
        "    await hub.evbus.init.join()",
        "    await hub.evbus.broker.put('key', 1)",
        "    LAST",
        f"    print(json.dumps([name for name in {LATER!r} if name in sys.modules]))",
        "    await hub.evbus.init.stop()",
        "    await listener",
        "asyncio.run(main())",
    ]
    return lambda last: set(json.loads(run_python("\n".join(lines).replace("LAST", last))))


def test_a_start_in_memory_and_a_put_import_no_client_and_nothing_that_receives_or_calls(imported):
    assert imported("pass") == set()


def test_handlers_and_services_import_what_they_need(imported):
    needed = {
        "evbus_like.hub.application.binding",
        "evbus_like.hub.application.services",
        "evbus_like.engine.receiving.consumer",
    }
    assert needed <= imported("await hub.evbus.handlers.start(); await hub.evbus.rpc.start()")


@pytest.mark.parametrize(
    ("used", "brings"),
    [
        ("acct.DEFAULT", set()),
        ("crypto.fernet", {"cryptography"}),
        ("crypto._loaded['fernet']", {"cryptography"}),
        ("acct._subs['backend']", set()),
        ("rend.yaml", {"jinja2"}),
        ("output.json", set()),
    ],
)
def test_acct_and_what_it_brings_is_on_the_hub_and_imported_at_its_first_use(imported, used, brings):
    assert brings <= imported(f"hub.pop.sub.add(dyne_name='acct'); assert hub.{used}")


def test_a_command_does_without_pip(run_python):
    program = """
        import sys
        from evbus_like.scripts import start
        sys.argv = ["evbus", "handlers"]
        try:
            start()
        except SystemExit:
            print("pip imported:", any(name.partition(".")[0] == "pip" for name in sys.modules))
    """
    assert "pip imported: False" in run_python(program)


def test_what_an_application_sets_before_the_first_use_stays(imported):
    imported("hub.acct.DEFAULT = 'mine'; assert hub.acct.DEFAULT == 'mine' and hub.acct.BACKEND_KEY")


def test_pop_config_knows_the_ciphers_of_acct(imported):
    imported("sys.argv = ['app']; hub.pop.config.load(['acct'], cli='acct'); assert hub.OPT.acct.crypto_plugin")
