"""Declared events on the hub: hub/application/events.py, evbus/events.py, hub/background.py, and the command's two."""

import asyncio

import pytest

from evbus_like.engine.errors import BadEvent, LifecycleError
from evbus_like.engine.event import service_of
from evbus_like.hub.application import events
from evbus_like.testing import new_hub, running
from tests.declared_app import APP

HERE = {"internal": {"*": {"routing_key": "here"}}}


@pytest.fixture
def app(package, monkeypatch):
    """A hub with the events of an application, found as pop finds them."""
    monkeypatch.syspath_prepend(str(package(APP, "declared_app")))
    return new_hub()


async def received(hub):
    return await asyncio.wait_for((await hub.ingress.internal.get("here")).get_event(), 10)


async def test_a_function_on_the_hub_is_an_event(app):
    async with running(HERE, app) as hub:
        receipt = await hub.event.auth.user_created(username="adam", age="7")
        event = await received(hub)
    assert (event.id, event.routing_key, service_of(event)) == (receipt.id, "user_created", "auth")
    assert event.body == b'{"username":"adam","age":7}'
    assert receipt.matched


async def test_a_file_may_name_its_service_and_its_profile(app):
    async with running(HERE, app) as hub:
        await hub.event.shop.sold(order=1)
        event = await received(hub)
    assert (service_of(event), event.profile) == ("web shop", "shop")


async def test_nowait_gives_the_id(app):
    async with running(HERE, app) as hub:
        event_id = hub.event.auth.user_created.nowait(username="adam")
        assert (await received(hub)).id == event_id
        with pytest.raises(BadEvent, match="missing: username"):
            hub.event.auth.user_created.nowait()


async def test_a_wrong_call_raises_and_nothing_is_put(app):
    async with running(HERE, app) as hub:
        for wrong in ({}, {"username": 1}, {"username": "a", "years": 1}):
            with pytest.raises(BadEvent, match=r"auth\.user_created"):
                await hub.event.auth.user_created(**wrong)
        with pytest.raises(BadEvent, match="takes keyword arguments only"):
            await hub.event.auth.user_created("adam")
        assert hub.evbus.init.account().put == 0


async def test_fire_within_a_loop_says_what_to_use_and_never_waits(app):
    async with running(HERE, app) as hub:
        with pytest.raises(LifecycleError, match=r"use `await hub\.event\.auth\.user_created\(\.\.\.\)`"):
            hub.event.auth.user_created.fire(username="adam")
        assert hub.evbus.init.account().put == 0


async def test_fire_in_a_thread_beside_the_loop_waits_for_the_receipt(app):
    async with running(HERE, app) as hub:
        receipt = await asyncio.to_thread(lambda: hub.event.auth.user_created.fire(username="adam"))
        assert (await received(hub)).id == receipt.id
        assert receipt.matched


async def test_what_is_fired_before_the_bus_runs_is_queued(app):
    receipt = await asyncio.to_thread(lambda: app.event.auth.user_created.fire(username="adam"))
    async with running(HERE, app) as hub:
        assert (await received(hub)).id == receipt.id


def test_private_functions_imported_ones_and_those_of_init_are_no_events(app):
    assert [(event.service, event.name) for event in app.evbus.events.listed()] == [
        ("auth", "moved"),
        ("auth", "user_created"),
        ("web shop", "sold"),
    ]


def test_an_event_shows_its_schema_and_checks_bodies(app):
    event = app.evbus.events.get("auth", "user_created")
    assert event is app.event.auth.user_created is app["event.auth.user_created"]
    assert event.schema()["description"] == "A user has signed up."
    assert event.check({"username": "adam", "age": "3"}) == {"username": "adam", "age": 3}
    assert repr(event) == "<DeclaredEvent hub.event.auth.user_created>"


def test_an_event_is_found_by_service_and_type_or_not_at_all(app):
    assert events.find(app, "web shop", "sold") is app.event.shop.sold
    assert events.find(app, "shop", "sold") is None
    assert events.find(app, "web shop", "bought") is None


UNKNOWN = [
    (("auth", "user_creatd"), "service 'auth' has no event 'user_creatd'; did you mean 'user_created'"),
    (("aut", "user_created"), "no service 'aut' with declared events; did you mean 'auth'"),
    (("auth", "_helper"), "leading underscore are private"),
]


@pytest.mark.parametrize(("names", "text"), UNKNOWN, ids=[text for _, text in UNKNOWN])
def test_an_event_that_there_is_not_is_said_with_the_nearest_one(app, names, text):
    with pytest.raises(BadEvent) as caught:
        app.evbus.events.get(*names)
    assert text in str(caught.value)


def test_a_misspelled_event_on_the_hub_names_the_nearest_one(app):
    for _ in range(2):  # bind may be called again
        with pytest.raises(AttributeError, match=r"hub.event.auth has no event 'user_creatd'; did you mean 'user_cre"):
            app.event.auth.user_creatd  # noqa: B018
        with pytest.raises(AttributeError, match=r"hub.event has no service .shopp.; did you mean .shop."):
            app.event.shopp.sold  # noqa: B018
        with pytest.raises(AttributeError, match="there is: moved, user_created"):
            app.event.auth.zzz  # noqa: B018
        assert not hasattr(app.event.auth, "user_creatd")
        assert app.event.auth.user_created.name == "user_created"
        app.evbus.events.bind()


async def test_the_background_is_not_for_programs_with_a_loop(hub):
    with pytest.raises(LifecycleError, match="use `start` as a task"), hub.evbus.init.background():
        pass
