"""Declared events in processes of their own: scripts, programs without an event loop, and the two commands."""

import json
import os

import pytest

from tests import launcher
from tests.declared_app import APP

HUB = "from evbus_like.testing import new_hub\nhub = new_hub()\n"
ORDERS = {
    "the app's first": "hub.pop.sub.add(dyne_name='event'); hub.pop.sub.add(dyne_name='evbus')",
    "evbus first": "hub.pop.sub.add(dyne_name='evbus'); hub.pop.sub.add(dyne_name='event')",
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_the_event_folder_may_be_added_before_evbus_or_after(package, run_python, order):
    script = f"import pop.hub; hub = pop.hub.Hub(); {order}; print(hub.event.auth.user_created)"
    assert "<DeclaredEvent hub.event.auth.user_created>" in run_python(script, package(APP))


def test_plugins_that_come_later_are_bound_by_hand(package, run_python):
    folder = package(APP) / "their_app" / "event"
    out = run_python(
        HUB
        + f"""
print(hub.evbus.events.listed())
hub.pop.sub.extend("event", static=[{str(folder)!r}])
print(len(hub.evbus.events.bind()), len(hub.evbus.events.bind()), hub.event.auth.user_created)
"""
    )
    assert out == "[]\n3 3 <DeclaredEvent hub.event.auth.user_created>\n"


BROKEN = {
    "event/crash.py": "import no_such_library",
    "event/hint.py": "class Opaque: ...\n\ndef happened(hub, it: Opaque): ...\n\ndef fine(hub): ...",
    "event/loose.py": "def happened(hub, *args): ...",
    "event/first.py": "SERVICE = 'same'\n\ndef happened(hub): ...",
    "event/second.py": "SERVICE = 'same'\n\ndef happened(hub): ...",
    "event/nameless.py": "SERVICE = ''\n\ndef happened(hub): ...",
    "event/profile.py": "PROFILE = 7\n\ndef happened(hub): ...",
    "event/library.py": "def __virtual__(hub):\n    return False, 'the library is missing'\n",
}
SAID = [
    "event plugin 'crash' could not be loaded: ModuleNotFoundError: No module named 'no_such_library'",
    "event plugin 'library' could not be loaded: the library is missing",
    "hub.event.hint.happened cannot be an event: the hint of it has Opaque, a type that msgspec cannot check",
    "hub.event.loose.happened cannot be an event: it has *args",
    "hub.event.second.happened cannot be an event: hub.event.first.happened is the event 'happened' of the",
    "hub.event.nameless.happened cannot be an event: service is empty",
    "hub.event.profile.happened cannot be an event: PROFILE must be a string, not int",
]


def test_declarations_that_are_wrong_are_each_named_by_bind_start_and_use(package, run_python):
    out = run_python(
        f"""
        {HUB.replace(chr(10), "; ")}
        import asyncio, json
        from evbus_like.engine.errors import DeclarationError
        said = []
        for use in (
            hub.evbus.events.bind,
            lambda: asyncio.run(hub.evbus.init.start({{"internal": {{"default": None}}}})),
            lambda: hub.evbus.events.get("hint", "happened"),
            lambda: hub.event.hint.happened.schema(),
            lambda: hub.event.hint.happened.fire(it=1),
            lambda: hub.event.hint.happened.check({{}}),
        ):
            try:
                use()
            except DeclarationError as error:
                said.append(str(error))
        print("RESULT" + json.dumps(said))
        print("RESULT" + json.dumps(hub.event.hint.fine.check({{}})))
        """,
        package(BROKEN),
    )
    said, fine = [json.loads(line[6:]) for line in out.splitlines() if line.startswith("RESULT")]
    assert len(said) == 6
    for text in SAID:
        assert text in said[0]
        assert text in said[1]
    assert all("hub.event.hint.happened cannot be an event" in each for each in said)
    assert fine == {}, "what is right beside them works"


def test_a_hub_without_an_event_folder_has_none_and_does_not_import_msgspec(run_python):
    out = run_python(
        HUB + "import sys; print(hub.evbus.events.listed(), hub.evbus.events.bind(), 'msgspec' in sys.modules)"
    )
    assert out.strip() == "[] [] False"


def test_a_script_without_a_loop_runs_the_bus_in_the_background(package, run_python):
    out = run_python(
        HUB
        + """
contexts = hub.evbus.acct.profiles(acct_data={"internal": {"*": {"routing_key": "here"}}})
with hub.evbus.init.background(contexts) as bus:
    receipt = hub.event.auth.user_created.fire(username="adam")
    print(receipt.matched, bus.put(body=1, confirm="delivered").delivered, bus.dispatch("a", "b", 2).matched)
    hub.evbus.broker.put_nowait(body=3)
print(bus.account)
import threading; print(threading.active_count())
""",
        package(APP),
    )
    assert out.splitlines()[0] == "True True True"
    assert "put 4, accepted 4, delivered 4, " in out
    assert out.splitlines()[-1] == "1", "the thread has ended"


def test_an_error_within_the_block_goes_on_after_the_bus_has_stopped(run_python):
    out = run_python(
        HUB
        + """
try:
    with hub.evbus.init.background({"internal": {"default": None}}) as bus:
        bus.put(body=1)
        1 / 0
except ZeroDivisionError:
    print(bus.account, hub.evbus.STARTED)
"""
    )
    assert "put 1, accepted 1, delivered 1" in out
    assert out.strip().endswith("False")


def test_what_start_would_raise_is_raised_where_the_block_begins(run_python):
    out = run_python(
        HUB
        + """
from evbus_like.engine.errors import ProfileError
try:
    with hub.evbus.init.background({"internal": {"default": {"nonsense": 1}}}):
        print("within")
except ProfileError as error:
    print("said:", error)
"""
    )
    assert out.startswith("said: profile internal:default: there is no option nonsense")


def test_a_bus_that_does_not_start_in_time_is_given_up(run_python):
    out = run_python(
        HUB
        + """
import asyncio, threading
from evbus_like.hub import background
from evbus_like.engine.errors import LifecycleError
background.START_TIMEOUT = 0.2
ended = threading.Event()
async def contexts():
    try:
        await asyncio.sleep(60)
    finally:
        ended.set()
try:
    with hub.evbus.init.background(contexts()):
        print("within")
except LifecycleError as error:
    print(error, ended.wait(30))
"""
    )
    assert out.strip() == "the bus did not start within 0.2 s True"


def test_fire_after_the_bus_has_stopped_is_refused_at_once(package, run_python):
    out = run_python(
        HUB
        + """
from evbus_like.engine.errors import BusStopped
with hub.evbus.init.background({"internal": {"default": None}}):
    pass
try:
    hub.event.auth.user_created.fire(username="adam")
except BusStopped as error:
    print("said:", error)
""",
        package(APP),
    )
    assert out.startswith("said:")


def evbus(path, *arguments):
    """Run the command with a folder on the path; gives its exit code, output and messages."""
    ran = launcher.run(launcher.EVBUS, arguments, timeout=60, env={**os.environ, "PYTHONPATH": str(path)})
    return ran.returncode, ran.stdout.decode(), ran.stderr.decode()


def test_the_command_lists_events_as_a_table_and_as_json(package):
    root = package(APP)
    code, out, _ = evbus(root, "events")
    assert code == 0
    assert all(text in out for text in ("3 declared events", "user_created", "username: str, age: int = 0", "web shop"))
    assert "A user has signed up." in out
    code, out, _ = evbus(root, "events", "--json")
    assert [each["on_the_hub"] for each in json.loads(out)] == [
        "hub.event.auth.moved",
        "hub.event.auth.user_created",
        "hub.event.shop.sold",
    ]


def test_the_command_prints_the_schema_and_the_asyncapi_document(package):
    root = package(APP)
    code, out, _ = evbus(root, "schema")
    assert code == 0
    assert json.loads(out)["$defs"]["auth.user_created"]["required"] == ["username"]
    code, out, _ = evbus(root, "schema", "--asyncapi", "--title", "Users", "--api-version", "2.0.0")
    document = json.loads(out)
    assert code == 0
    assert document["info"] == {"title": "Users", "version": "2.0.0"}
    assert list(document["channels"]) == ["auth.moved", "auth.user_created", "web_shop.sold"]


@pytest.mark.parametrize("command", ["events", "schema"])
def test_broken_declarations_are_exit_code_2_and_named(package, command):
    code, out, err = evbus(package(BROKEN), command)
    assert code == 2
    assert out == ""
    assert f"evbus {command}: these event declarations are wrong" in err
    assert "hub.event.loose.happened" in err


@pytest.mark.parametrize("command", [["events"], ["schema", "--asyncapi"]], ids=" ".join)
def test_broken_declarations_are_named_as_json(package, command):
    code, out, _ = evbus(package(BROKEN), *command, "--json")
    assert (code, json.loads(out)["kind"]) == (2, "DeclarationError")


def test_without_declarations_the_command_says_where_it_looked(tmp_path):
    code, out, _ = evbus(tmp_path, "events")
    assert code == 0
    assert "no events are declared" in out
    assert json.loads(evbus(tmp_path, "events", "--json")[1]) == []


PAGE = {
    **APP,
    "handler/mail.py": """
    import evbus_like.handlers as evbus

    @evbus.handler("auth", "user_created")
    async def greet(hub, event):
        '''Greet <b>a user</b>.'''
    """,
    "service/world.py": "async def hello(hub, name: str, times: int = 1): ...\n",
}


def test_the_page_of_an_application_is_one_file_that_loads_and_runs_nothing(package):
    code, page, err = evbus(package(PAGE), "schema", "--html", "--title", "Users & <more>")
    assert (code, err) == (0, "")
    assert page.startswith("<!doctype html>")
    assert "<title>Users &amp; &lt;more&gt;</title>" in page
    assert "default-src 'none'" in page
    assert not any(tag in page for tag in ("<script", "<link", "<img", "<iframe", "src=", "url(", "@import"))
    for name in ("send.auth.user_created", "receive.mail.greet.user_created", "serve.world.hello"):
        assert f'<article id="{name}">' in page
        assert f'href="#{name}"' in page
    assert "Greet &lt;b&gt;a user&lt;/b&gt;." in page
    assert "<td><code>username</code></td><td><code>string</code></td><td>required</td>" in page
    assert "<td><code>times</code></td><td><code>integer</code></td><td>default 1</td>" in page


def test_a_handler_that_cannot_be_used_is_named_by_the_document(package):
    wrong = "import evbus_like.handlers as evbus\n@evbus.handler('a', 'b', attempts=0)\nasync def f(hub, event): ...\n"
    code, out, err = evbus(package({**APP, "handler/mail.py": wrong}), "schema", "--asyncapi")
    assert (code, out) == (2, "")
    assert "handler.mail.f: attempts must be" in err
