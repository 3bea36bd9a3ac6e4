"""`evbus check` finds what is wrong with profiles without sending, and says what to do."""

import json

import pytest

from evbus_like import conf
from evbus_like.cli import application, check
from evbus_like.engine.errors import HandlerError, ProfileError
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.source import Inspection
from evbus_like.hub.profiles import plan


@pytest.fixture
def rows(hub, tmp_path, capsys, monkeypatch):
    """Run the check of a credentials file; gives the exit code and the rows."""

    async def run(profiles, hub=hub, **settings):
        path = tmp_path / "acct.yml"
        monkeypatch.setattr(application, "_settings", lambda hub, names: None)  # the command line
        path.write_text(json.dumps(profiles))
        path.chmod(0o600)
        defaults = {name: spec["default"] for name, spec in conf.CONFIG.items()}
        given = {**defaults, "acct_file": str(path), "json": True, "timeout": 5.0, **settings}
        hub.OPT = hub.pop.data.imap({"evbus_like": given})
        code = await check.run(hub)
        return code, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def checked(rows):
    """Run the check of a credentials file; gives the exit code and the problem of each profile."""

    async def run(profiles, **settings):
        code, found = await rows(profiles, **settings)
        return code, {row["profile"]: row["problem"] for row in found}

    return run


HANDLERS = """
    @evbus.handler("orders", "placed")
    async def usual(hub, event): ...

    @evbus.handler("orders", "packed", accept="msgpack")
    async def packed(hub, event): ...
"""


async def test_a_profile_in_memory_is_well(checked):
    assert await checked({"internal": {"default": None}}) == (0, {"internal:default": ""})


async def test_dead_letters_that_no_profile_takes_are_a_problem(checked, hub):
    profiles = {"internal": {"default": {"dead_letter": "parkng"}, "parking": None}}

    code, problems = await checked(profiles)

    assert code == 1
    said = "option dead_letter: no profile takes the events of 'parkng'; did you mean 'parking'?"
    assert problems == {"internal:default": said, "internal:parking": ""}
    with pytest.raises(ProfileError, match="option dead_letter: no profile takes"):
        plan.entries(hub, profiles, hub.evbus.RUNTIME.reporter)
    profiles["internal"]["default"]["dead_letter"] = "parking"
    assert (await checked(profiles))[0] == 0


async def test_options_of_handlers_are_checked_with_those_of_puts(checked):
    code, problems = await checked({"amqp": {"default": {"dead_letter_exchange": "x" * 300}}})

    assert code == 1
    assert "dead_letter_exchange is longer than 255 bytes" in problems["amqp:default"]


async def test_a_profile_that_a_services_file_names_must_exist(checked, tmp_path):
    file = tmp_path / "services.yml"
    file.write_text("shop: {profile: defalt}\nother: {profile: default}\n")

    code, problems = await checked({"internal": {"default": None}}, services_file=str(file))

    assert (code, problems["defalt"]) == (1, f"unknown; the service shop in {file} needs it")
    file.write_text("shop: 7")
    with pytest.raises(HandlerError, match=r"services file .*\(hub.OPT.evbus_like.services_file\)"):
        await checked({"internal": {"default": None}}, services_file=str(file))


async def test_every_handler_and_service_is_checked_as_a_start_would_check_it(rows, app):
    hub = app(
        handler__shop=HANDLERS
        + "\n    @evbus.handler('orders', 'x', profile='nowhere')\n    async def lost(hub, e): ...",
        service__world="async def hello(hub, name): ...",
    )

    code, found = await rows({"internal": {"default": None}}, hub)

    results = {row["part"]: (row["profile"], row["problem"]) for row in found}
    assert code == 1
    assert results["handler shop.usual"] == results["service world"] == ("internal:default", "")
    assert "unknown source profile 'nowhere'" in results["handler"][1]


async def test_what_stops_a_start_is_a_row_and_hides_nothing_else(rows, app):
    hub = app(
        handler__shop=HANDLERS,
        middleware__none="def other(hub, message): ...",
        event__orders="def placed(hub, thing: Unknown): ...",
        service__world="ACCEPT = 7\nasync def hello(hub, name): ...",
    )

    code, found = await rows({"internal": {"default": None}}, hub)

    problems = {row["part"]: row["problem"] for row in found if row["problem"]}
    assert (code, set(problems)) == (1, {"declared events", "middleware", "service"})
    assert "neither incoming" in problems["middleware"]
    assert "ACCEPT must be names" in problems["service"]


async def test_formats_that_a_receiver_refuses_though_its_own_side_sends_them_are_advice(rows, app):
    hub = app(handler__shop=HANDLERS, service__world="ACCEPT = 'msgpack'\nasync def hello(hub, name): ...")

    code, found = await rows({"internal": {"default": {"serializer": "yaml"}}}, hub)

    advice = {row["part"]: row["advice"] for row in found}
    assert code == 0
    assert len(advice["handler shop.usual"]) == len(advice["handler shop.packed"]) == 1
    said = "events that are put with its profile internal:default are yaml, and it refuses them"
    assert advice["handler shop.usual"][0].startswith(said)
    assert "only msgpack (option accept)" in advice["handler shop.packed"][0]
    assert advice["service world"][0].startswith("calls and their answers are JSON")
    hub = app(handler__shop=HANDLERS)
    assert not (await rows({"internal": {"default": {"serializer": "msgpack"}}}, hub))[1][1]["advice"]


async def test_events_that_a_source_holds_are_read_as_the_handler_would_read_them(rows, app, monkeypatch):
    hub = app(handler__shop=HANDLERS, event__orders="async def placed(hub, name: str): ...")
    samples = [
        *(ReceivedEvent(b'{"name": "ann"}', "other") for _ in range(3)),
        ReceivedEvent(b'{"name": 7}', "placed", "orders", "id-1"),
        ReceivedEvent(b"{", "placed", "orders", "id-2", content_type="application/json"),
        ReceivedEvent(b"x", "other", content_type="application/json", content_encoding="br"),
        ReceivedEvent(b"x", "other", content_type="image/png"),
    ]

    async def inspect(self, subscription):
        return Inspection(["look"], samples)

    monkeypatch.setattr("evbus_like.hub.profiles.source.PluginSource.inspect", inspect)

    code, found = await rows({"internal": {"default": None}}, hub)

    first, *advice = next(row["advice"] for row in found if row["part"] == "handler shop.usual")
    assert (code, first, len(advice)) == (0, "look", 4)
    text = "\n".join(advice)
    assert "1 of the latest 7 events would be dead letters, such as orders.placed id-1: its body is not as decl" in text
    assert "the content encoding 'br' is unknown" in text
    assert "3 of the latest 7 events have no content type, so it gets bytes: default_format='json' decodes them" in text


async def test_an_outbox_that_cannot_be_used_is_a_problem_and_one_that_is_not_there_is_none(rows, tmp_path):
    profiles = {"internal": {"default": {"outbox": "always"}}}
    place = tmp_path / "state" / "o.sqlite"

    code, found = await rows(profiles, outbox_path=str(place))

    assert (code, [row["problem"] for row in found]) == (0, ["", ""])
    assert not place.parent.exists()
    place.parent.mkdir()
    place.write_bytes(b"not a database" * 500)
    code, found = await rows(profiles, outbox_path=str(place))
    assert code == 1
    assert str(place) in found[1]["problem"]


async def test_a_callback_that_is_missing_is_advice(rows):
    code, found = await rows({"internal": {"default": None}}, error_callback_ref="shop.errors.handle")

    assert (code, found[1]["part"]) == (0, "error_callback_ref")
    assert "no function shop.errors.handle" in found[1]["advice"][0]


async def test_an_http_port_that_others_could_read_without_a_token_is_named(rows):
    code, found = await rows({"internal": {"default": None}}, http="0.0.0.0:9464")

    assert (code, found[1]["part"]) == (1, "HTTP port")
    assert "EVBUS_HTTP_TOKEN" in found[1]["problem"]
