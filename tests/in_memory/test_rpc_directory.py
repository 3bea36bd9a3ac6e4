"""Where a service is found: by default, in code, in a services file of YAML, and in one of tavrida's form."""

import os

import pytest

from evbus_like.engine.errors import HandlerError, UnknownService
from evbus_like.engine.rpc.directory import Route, load
from evbus_like.hub.application import binding, handlers, rpc_proxy
from evbus_like.testing import eventually, running
from tests.rpc import serving
from tests.unit.fakes import HANG

WORLD = """
    async def hello(hub, n):
        return n
"""


def write(folder, text, name="services.yml"):
    path = folder / name
    path.write_text(text)
    return str(path)


def test_yaml_and_tavridas_form_say_the_same(tmp_path):
    expected = {"world": Route("", "geo", "geo.news"), "shop": Route("amqp:orders", "", ""), "bare": Route()}
    yaml = "world: {exchange: geo, notifications: geo.news}\nshop:\n  profile: amqp:orders\nbare:\n"
    ini = "# services\n[world]\nexchange = geo\nnotifications=geo.news\n\n; more\n[shop]\nprofile=amqp:orders\n[bare]\n"
    assert load(write(tmp_path, yaml)) == expected
    assert load(write(tmp_path, ini, "services.ini")) == expected
    assert load(write(tmp_path, ini, "services")) == expected


@pytest.mark.parametrize("name", ["services.yml", "services.ini", "services"])
def test_an_empty_file_knows_no_service(tmp_path, name):
    assert load(write(tmp_path, "", name)) == {}


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("[world]\nexchnge=geo\n", "s.ini", "service 'world' has an unknown key 'exchnge'"),
        ("[world]\n[world]\n", "s.ini", "no INI: .*world.*already exists"),
        ("[world]\nexchange geo\n", "s.ini", "no INI"),
        ("[world\nexchange=geo\n", "s.ini", "s.ini: "),
        ("world: [a", "s.yml", "no YAML"),
        ("- world\n", "s.yml", "it must map names of services"),
        ("world: geo\n", "s.yml", "service 'world' has 'geo', and needs a mapping of profile, exchange, notifications"),
        ("world: {exchange: 7}\n", "s.yml", "service 'world': exchange must be text, not 7"),
        ("7: {exchange: geo}\n", "s.yml", "the name of a service must be text, not 7"),
        ("world: !!python/object/apply:os.system [true]\n", "s.yml", "no YAML"),
        ("world: {}\nworld: {}\n", "s.yml", "no YAML: .*world.* twice"),
    ],
)
def test_a_bad_file_is_an_error_with_its_place(tmp_path, text, name, message):
    path = write(tmp_path, text, name)
    with pytest.raises(HandlerError, match=message) as caught:
        load(path)
    assert path in str(caught.value)


def test_a_file_that_is_missing_or_no_text_is_an_error(tmp_path):
    with pytest.raises(HandlerError, match="does not exist"):
        load(str(tmp_path / "nowhere.yml"))
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HandlerError, match="cannot be read"):
        load(str(tmp_path / "binary.yml"))


async def test_a_service_that_the_file_does_not_know_is_an_error_with_what_is_like_it(app, tmp_path):
    path = write(tmp_path, "world: {}\nshop: {}\n")
    async with serving(app(WORLD), services_file=path) as hub:
        assert await hub.rpc.world.hello(1) == 1
        with pytest.raises(UnknownService, match=r"does not know the service 'wrld'.*world"):
            await hub.rpc.wrld.hello(1)


async def test_a_file_may_have_an_entry_for_all_the_rest(app, tmp_path):
    path = write(tmp_path, "shop: {exchange: of-shops}\n'*': {}\n")
    async with serving(app(WORLD), services_file=path) as hub:
        assert await hub.rpc.world.hello(1) == 1


async def test_calls_and_services_of_one_exchange_do_not_meet_those_of_another(app, tmp_path):
    path = write(tmp_path, "[world]\nexchange=geo\n", "services.ini")
    async with serving(app(WORLD), services_file=path) as hub:
        assert await hub.rpc.world.hello(1) == 1
        assert "geo" in hub.ingress.internal.EXCHANGES
        hub.evbus.rpc.register("world", exchange="elsewhere")
        with pytest.raises(UnknownService):
            await hub.rpc.world.hello(1)
        hub.evbus.rpc.register("world", exchange="geo")
        assert await hub.rpc.world.hello(2) == 2


@pytest.mark.parametrize(
    ("entry", "message"), [({"profile": 7}, "profile must be text"), ({"profile": "nope"}, "unknown source profile")]
)
async def test_a_wrong_registration_is_an_error(app, entry, message):
    async with serving(app(WORLD)) as hub:

        async def call():
            hub.evbus.rpc.register("world", **entry)
            await hub.rpc.world.hello(1)

        with pytest.raises(HandlerError, match=message):
            await call()


async def test_a_bad_services_file_fails_the_start_of_the_bus(app, tmp_path):
    hub = app(WORLD)
    hub.OPT = {"evbus_like": {"services_file": write(tmp_path, "world: 7")}}
    with pytest.raises(HandlerError, match="service 'world' has 7"):
        async with running(hub=hub):
            pass


async def test_notifications_go_by_the_profile_whose_exchange_the_entry_names(app):
    handlers = "@evbus.handler('world', 'hello')\nasync def on_hello(hub, event):\n    hub.SEEN.append(event.body)\n"
    async with running(hub=app(WORLD, handler__front=handlers)) as hub:
        await hub.evbus.handlers.start()
        await hub.evbus.handlers.join(HANG)
        hub.evbus.rpc.register("world", notifications="of-nobody")
        with pytest.raises(HandlerError, match="go to the exchange 'of-nobody', and no profile names it"):
            await hub.rpc.world.hello.publish(a=1)
        hub.evbus.rpc.register("world")
        await hub.rpc.world.hello.publish(a=2)
        await eventually(lambda: hub.SEEN == [{"a": 2}], HANG)


LISTENER = "@evbus.handler('world', 'hello'{})\nasync def on_hello(hub, event):\n    hub.SEEN.append(event.body)\n"


@pytest.mark.parametrize(
    ("text", "mark", "source"),
    [
        ("world: {notifications: world.news}", "", "amqp:far"),
        ("'*': {notifications: world.news}", "", "amqp:far"),
        ("world: {notifications: world.news}", ", profile='internal:default'", "internal:default"),
        ("other: {notifications: world.news}", "", "internal:default"),
    ],
)
async def test_a_subscriber_uses_the_profile_of_the_exchange_that_the_services_file_names(
    app, tmp_path, text, mark, source
):
    far = {"connection": {"host": "127.0.0.1", "port": 1}, "exchange": "world.news"}
    hub = app(handler__front=LISTENER.format(mark))
    hub.OPT = {"evbus_like": {"services_file": write(tmp_path, text)}}
    contexts = await hub.evbus.acct.profiles(acct_data={"internal": {"default": None}, "amqp": {"far": far}})
    rpc_proxy.begin(hub)
    handlers.load(hub)
    ((_, found, _),), wrong = binding.bound(hub, contexts, handlers.found(hub))
    assert (found.name, wrong) == (source, [])


async def test_notifications_on_an_exchange_that_no_profile_names_stop_the_start_of_their_subscribers(app, tmp_path):
    hub = app(handler__front=LISTENER.format(""))
    hub.OPT = {"evbus_like": {"services_file": write(tmp_path, "world: {notifications: of-nobody}")}}
    async with running(hub=hub):
        with pytest.raises(HandlerError, match=r"handler.front.on_hello: .*'of-nobody', and no profile names it"):
            await hub.evbus.handlers.start()


def test_a_services_file_that_never_ends_or_is_a_pipe_without_a_writer_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("evbus_like.engine.given_files.DEADLINE", 0.01)
    os.mkfifo(tmp_path / "services.yml")
    for path, said in ((tmp_path / "services.yml", "/services.yml "), ("/dev/zero", "the limit"), (tmp_path, "folder")):
        with pytest.raises(HandlerError, match=f"the services file .*{said}"):
            load(str(path))
