"""hub/plugins.py: plugins of other packages, whole and broken ones, found by pop."""

import textwrap

import pytest

from evbus_like.engine.errors import LifecycleError, ProfileError
from evbus_like.hub import conflict, plugins

RUN = """
import asyncio, logging, pop.hub
logging.basicConfig()
hub = pop.hub.Hub()
hub.pop.sub.add(dyne_name="evbus")
SENT = hub.evbus.SENT = []

async def main(contexts, *puts, **opt):
    hub.OPT = {"evbus_like": opt}
    task = asyncio.create_task(hub.evbus.init.start(contexts))
    try:
        await hub.evbus.init.join(10)
        for put in puts:
            await hub.evbus.broker.put(**put)
        print(await hub.evbus.init.stop(5))
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
    await asyncio.gather(task, return_exceptions=True)
    print("SENT", SENT)
"""


@pytest.fixture
def run(package, run_python):
    """Run an application that brings some plugins, in a process of its own."""

    def run(files, call):
        return run_python(RUN + textwrap.dedent(call), package(files))

    return run


def publish(parameters, kind="async def", head='ACCT = ["redis"]'):
    shown = ", ".join(name for name in parameters.split(", ") if name not in ("hub", "ctx"))
    return f"{head}\n\n{kind} publish({parameters}):\n    hub.evbus.SENT.append((ctx.acct.get('x'), {shown}))\n"


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize(
    ("parameters", "sent"),
    [("hub, ctx, body", "(7, b'{\"a\":1}')"), ("hub, ctx, routing_key, body", "(7, 'k', b'{\"a\":1}')")],
)
def test_a_plugin_of_another_package_publishes_sync_or_async_in_both_styles(run, kind, parameters, sent):
    out = run(
        {"ingress/redis.py": publish(parameters, kind)},
        """asyncio.run(main({"redis": {"default": {"x": 7}}}, {"routing_key": "k", "body": {"a": 1}}))""",
    )

    assert f"SENT [{sent}]" in out
    assert "delivered 1" in out


def test_a_plugin_that_breaks_at_import_is_named_only_when_a_profile_needs_it(run):
    files = {"ingress/redis.py": "raise RuntimeError('no luck')\n", "serialize/odd.py": "import nothing_of_the_kind\n"}

    assert "delivered 1" in run(files, """asyncio.run(main({"internal": {"default": None}}, {"body": 1}))""")
    out = run(files, """asyncio.run(main({"redis": {"default": None}}))""")
    assert "ProfileError: profile redis:default" in out
    assert "'redis' could not be loaded" in out
    assert "no luck" in out
    out = run(files, """asyncio.run(main({"internal": {"default": {"serializer": "odd"}}}))""")
    assert "serializer 'odd' could not be loaded" in out
    assert "nothing_of_the_kind" in out


REFUSES = """
try:
    import no_such_lib
    HAS_LIBS = (True,)
except ImportError as error:
    HAS_LIBS = (False, str(error))


def __virtual__(hub):
    return HAS_LIBS
"""


def test_a_plugin_whose_library_is_missing_says_which(run):
    files = {
        "ingress/redis.py": publish("hub, ctx, body", head="ACCT = ['redis']\nREQUIRES = ['no_such_lib']"),
        "ingress/nats.py": REFUSES,
    }

    assert "delivered 1" in run(files, """asyncio.run(main({"internal": {"default": None}}, {"body": 1}))""")
    out = run(files, """asyncio.run(main({"redis": {"default": None}, "nats": {"default": None}}))""")
    assert "profile redis:default: it needs the library no_such_lib" in out
    assert "pip install no_such_lib" in out
    assert "'nats' could not be loaded" in out


def test_a_plugin_without_acct_gets_no_events_and_is_not_an_error(run):
    out = run(
        {"ingress/redis.py": publish("hub, ctx, body", head="")},
        """asyncio.run(main({"redis": {"default": None}, "internal": {"default": None}}, {"body": 1}))""",
    )

    assert "delivered 1" in out
    assert "SENT []" in out


def test_a_plugin_with_a_wrong_publish_is_refused_and_the_error_shows_the_right_signature(run):
    out = run(
        {"ingress/redis.py": "ACCT = ['redis']\n\nasync def publish(hub, context, data):\n    pass\n"},
        """asyncio.run(main({"redis": {"default": None}}))""",
    )

    assert "publish(hub, ctx, body)" in out
    assert "ProfileError" in out


UPPER = """
CONTENT_TYPE = "text/upper"


def dump(hub, data):
    return str(data).upper().encode()


def load(hub, data):
    return data.decode()
"""


def test_a_serializer_of_another_package_is_chosen_by_its_name(run):
    out = run(
        {"serialize/upper.py": UPPER, "ingress/redis.py": publish("hub, ctx, body")},
        """asyncio.run(main({"redis": {"default": {"serializer": "upper"}}}, {"body": "word"}))""",
    )

    assert "SENT [(None, b'WORD')]" in out


LEAKS = """
ACCT = ["redis"]


def publish(hub, ctx, body):
    raise ValueError(ctx.acct.password)
"""
HANDLES = """
def handle(hub, data):
    hub.evbus.SENT.append((str(data["exception"]), data["plugin"], data["body"]))
"""


def test_an_error_callback_of_the_application_is_found_by_its_name_and_sees_no_secret(run):
    out = run(
        {"ingress/redis.py": LEAKS, "evbus/oops.py": HANDLES},
        """
        profile = {"password": "hunter2", "retry": {"first": 0.001}}
        asyncio.run(main({"redis": {"default": profile}}, {"body": 1}, error_callback_ref="evbus.oops.handle"))
        """,
    )

    assert "SENT [('ValueError: ***', 'redis', b'1')]" in out
    assert "dead-lettered 1" in out
    assert "hunter2" not in out


def test_pop_evbus_installed_beside_the_package_is_refused_and_the_error_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "evbus" / "evbus").mkdir(parents=True)
    (tmp_path / "evbus" / "__init__.py").write_text("")
    (tmp_path / "evbus" / "evbus" / "broker.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    conflict.problem.cache_clear()
    try:
        with pytest.raises(LifecycleError, match="pip uninstall pop-evbus evbus-pika evbus-kafka"):
            conflict.refuse()
    finally:
        conflict.problem.cache_clear()


def test_without_pop_evbus_nothing_is_refused():
    conflict.problem.cache_clear()

    conflict.refuse()


def test_the_error_about_an_unknown_plugin_names_similar_ones_or_all(hub):
    with pytest.raises(ProfileError, match=r"unknown serializer 'msgpak'; did you mean 'msgpack'\?"):
        plugins.serializer(hub, "msgpak")
    with pytest.raises(ProfileError, match="there is: json, msgpack, pop_json, str, yaml"):
        plugins.serializer(hub, "qqq")
    with pytest.raises(ProfileError, match="unknown match plugin 'init'"):
        plugins.matcher(hub, "init")


def test_a_serializer_is_bound_to_the_hub_once(hub):
    serializer = plugins.serializer(hub, "json")

    assert (serializer.name, serializer.content_type, serializer.dump({"a": 1})) == (
        "json",
        "application/json",
        b'{"a":1}',
    )
