"""accept and default_format: of handlers, services, methods, handlers of answers, callers and profiles."""

from typing import Any

import msgpack
import pytest

from evbus_like.engine.errors import HandlerError, ProfileError
from evbus_like.engine.receiving.received import BadBody, ReceivedEvent
from evbus_like.hub import call_handler, decoding
from evbus_like.hub.application import services
from evbus_like.hub.profiles import plan
from evbus_like.hub.profiles.sources import Sources
from evbus_like.testing import handling

HANDLERS = """
    @evbus.handler("orders", "any")
    async def usual(hub, event): ...

    @evbus.handler("orders", "packed", accept="msgpack", default_format="msgpack")
    async def packed(hub, event): ...

    @evbus.handler("orders", "text", accept=("yaml", "str"))
    async def readable(hub, event): ...

    @evbus.on_response("world", "hello", accept=("json", "msgpack"))
    async def said(hub, event): ...
"""
EVENT = "async def any(hub, name: str): ..."
SERVICE = """
    ACCEPT = ["json", "msgpack"]

    async def hello(hub, name):
        return name

    @evbus.method(accept="json")
    async def strict(hub, name):
        return name
"""
YAML, PACKED, JSON = b"name: ann", msgpack.packb({"name": "ann"}), b'{"name": "ann"}'
REQUEST = {"args": ["ann"], "kwargs": {}}


@pytest.fixture
def hub(app: Any) -> Any:
    return app(handler__shop=HANDLERS, event__orders=EVENT, service__world=SERVICE)


async def handled(bus: Any, name: str, raw: bytes, content_type: str) -> tuple[Any, str]:
    hub = bus.hub
    found = call_handler.in_memory(call_handler.named(hub, name))
    event = call_handler.event_for(hub, found, raw, content_type=content_type)
    outcome = await call_handler.call(hub, found, event, bus._recorder)
    return event.body, outcome.disposition.reason


async def test_a_handler_gets_the_formats_that_it_accepts_and_others_are_dead_letters(hub: Any) -> None:
    async with handling(hub) as bus:
        assert await handled(bus, "shop.usual", JSON, "application/json") == ({"name": "ann"}, "")
        assert await handled(bus, "shop.usual", PACKED, "application/x-msgpack") == ({"name": "ann"}, "")
        assert await handled(bus, "shop.readable", YAML, "text/yaml") == ({"name": "ann"}, "")
        assert await handled(bus, "shop.packed", PACKED, "") == ({"name": "ann"}, "")
        assert await handled(bus, "shop.usual", YAML, "application/yaml") == (
            None,
            "its body cannot be decoded (application/yaml): the format yaml is not accepted here, only json, msgpack,"
            " str (option accept)",
        )
        assert "only msgpack (option accept)" in (await handled(bus, "shop.packed", JSON, "application/json"))[1]


async def test_a_declared_event_without_a_content_type_is_read_as_json(hub: Any) -> None:
    async with handling(hub) as bus:
        assert await handled(bus, "shop.usual", JSON, "") == ({"name": "ann"}, "")
        body, reason = await handled(bus, "shop.usual", b'{"name": 18446744073709551616}', "")
        assert body is None
        assert "an int beyond 64 bits" in reason


def request(dump: Any, content_type: str, method: str = "hello") -> ReceivedEvent:
    return ReceivedEvent(dump(REQUEST), f"world.{method}", content_type=content_type)


def test_a_service_accepts_json_alone_unless_it_or_its_method_says_otherwise(hub: Any) -> None:
    (source,) = Sources(hub, {"internal": {"default": None}}).named("default")
    plugin, methods = services.found(hub)["world"]
    decode = services._decoder(hub, source, services._accept(hub, plugin), methods)
    assert decode(request(msgpack.packb, "application/msgpack")) == REQUEST
    assert decode(ReceivedEvent(b'{"args": ["ann"], "kwargs": {}}', "world.hello")) == REQUEST
    with pytest.raises(BadBody, match="only json "):
        decode(request(msgpack.packb, "application/msgpack", "strict"))
    usual = services._decoder(hub, source, (), {})
    for content_type in ("application/yaml", "application/msgpack", "text/plain"):
        with pytest.raises(BadBody, match="only json "):
            usual(ReceivedEvent(b"{}", "world.hello", content_type=content_type))


def test_a_profile_sets_what_its_handlers_services_and_callers_accept(hub: Any) -> None:
    profile = {"accept": ["yaml", "json"], "default_format": "yaml"}
    (source,) = Sources(hub, {"internal": {"default": profile}}).named("default")
    bare = ReceivedEvent(YAML, "x")
    for decode in (
        decoding.of_source(hub, source),
        decoding.of_source(hub, source, otherwise=decoding.JSON),
        decoding.of_source(hub, source, accept=("yaml",)),
    ):
        assert decode(bare) == {"name": "ann"}
    with pytest.raises(BadBody, match="only yaml, json "):
        decoding.of_source(hub, source)(ReceivedEvent(b"x", "x", content_type="text/plain"))
    assert decoding.of_source(hub, source, ("msgpack",), "msgpack")(ReceivedEvent(PACKED, "x")) == {"name": "ann"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accept": "jsn"}, "option accept names a serializer that does not exist, 'jsn'; did you mean 'json'"),
        ({"accept": ["json", "xml"]}, "option accept names a serializer that does not exist, 'xml'"),
        ({"default_format": "avro"}, "option default_format names a serializer that does not exist"),
        ({"accept": "json", "default_format": "yaml"}, "default_format is yaml, which accept does not have"),
        ({"accept": []}, "option accept must not be empty"),
        ({"accept": [7]}, "option accept must be a list of text"),
        ({"accept": 7}, "option accept must be of type str or list"),
        ({"default_format": 7}, "option default_format must be of type str"),
    ],
)
def test_wrong_options_of_a_profile_are_named(hub: Any, options: Any, message: str) -> None:
    contexts = {"internal": {"default": options}}
    (planned,) = plan.plan(hub, contexts)
    assert message in planned.problem
    with pytest.raises(ProfileError, match="internal:default") as caught:
        Sources(hub, contexts).named("default")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ('@evbus.handler("orders", "a", accept="jsn")', "did you mean 'json'"),
        ('@evbus.handler("orders", "a", accept=[7])', "accept must be names of serializers"),
        ('@evbus.handler("orders", "a", default_format=7)', "default_format must be text"),
        ('@evbus.handler("orders", "a", default_format="xml")', "does not exist, 'xml'"),
        ('@evbus.on_response("a", "b", accept="jsn")', "did you mean 'json'"),
    ],
)
async def test_wrong_options_of_a_handler_are_named(app: Any, mark: str, message: str) -> None:
    hub = app(handler__shop=f"{mark}\nasync def f(hub, event): ...")
    with pytest.raises(HandlerError, match=r"handler\.shop\.f") as caught:
        async with handling(hub):
            pass
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ACCEPT = 7\nasync def f(hub): ...", "ACCEPT must be names of serializers"),
        ('ACCEPT = "jsn"\nasync def f(hub): ...', "did you mean 'json'"),
        ("@evbus.method(accept=7)\nasync def f(hub): ...", "accept must be names of serializers"),
        ('@evbus.method(accept="xml")\nasync def f(hub): ...', "does not exist, 'xml'"),
    ],
)
async def test_wrong_formats_of_a_service_are_named(app: Any, text: str, message: str) -> None:
    hub = app(service__world=text)
    with pytest.raises(HandlerError) as caught:
        async with handling(hub):
            pass
    assert message in str(caught.value)
