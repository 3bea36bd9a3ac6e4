"""hub/profiles/plan.py: from contexts to lanes, and what is said about a wrong profile."""

import pytest

from evbus_like.engine.errors import ProfileError
from evbus_like.hub.profiles import plan


@pytest.fixture
def hub(one_hub):
    return one_hub


def names(hub, contexts):
    return [entry.lane.name for entry in plan.entries(hub, contexts, lambda failure: None)]


async def refused(hub, contexts):
    with pytest.raises(ProfileError) as caught:
        names(hub, contexts)
    return str(caught.value)


@pytest.mark.parametrize(
    "contexts",
    [
        {"internal": {"a": None, "b": {}}},
        {"internal": [{"a": None}, {"b": None}]},
        {"internal": [{"a": None, "b": {"routing_key": None}}]},
        {"internal": ({"a": {}}, None, {"b": {}})},
    ],
    ids=["dict", "list", "list of one", "tuple with nothing in it"],
)
async def test_profiles_come_as_dicts_or_lists_and_with_or_without_data(hub, contexts):
    assert names(hub, contexts) == ["internal:a", "internal:b"]


@pytest.mark.parametrize("contexts", [None, {}, {"internal": None}, {"internal": []}, {"match_plugin": "exact"}])
async def test_a_bus_without_profiles_starts(hub, contexts):
    assert names(hub, contexts) == []


@pytest.mark.parametrize("provider", ["amqp", "pika", "rabbitmq"])
async def test_every_alias_leads_to_the_same_plugin(hub, provider):
    (planned,) = plan.plan(hub, {provider: {"a": {}}})

    assert (planned.plugin, planned.problem) == ("amqp", "")


async def test_lanes_of_equal_names_get_a_number(hub):
    assert names(hub, {"internal": [{"a": {}}, {"a": {}}]}) == ["internal:a", "internal:a#2"]


@pytest.mark.parametrize(
    "contexts", [["internal"], "internal", {"internal": "default"}, {"internal": ["default"]}, {"internal": 7}], ids=str
)
async def test_contexts_of_another_shape_are_a_profile_error(hub, contexts):
    assert await refused(hub, contexts)


@pytest.mark.parametrize(
    ("contexts", "said"),
    [
        (
            {"internal": {"a": {"routing_kee": "x"}}},
            "profile internal:a: there is no option routing_kee; did you mean 'routing_key'?",
        ),
        ({"internal": {"a": {"routing_key": 1}}}, "option routing_key must be of type str or nothing, not int"),
        ({"internal": {"a": {"serializer": "jsn"}}}, "unknown serializer 'jsn'; did you mean 'json'?"),
        ({"internal": {"a": "text"}}, "its data must be a mapping of options, not str"),
        ({"internal": {"a": {"max_events": 0}}}, "option max_events must be greater than 0"),
        ({"internal": {"a": {"retry": {"frist": 1}}}}, "no option retry.frist; did you mean 'first'?"),
        ({"amqp": {"a": {"connection": {"hots": "x"}}}}, "no option connection.hots; did you mean 'hosts'?"),
        ({"amqp": {"a": {"ssl": {"ca_file": "/nowhere"}}}}, "TLS cannot be set up"),
        ({"kafka": {"a": {"ssl": {"ca_file": "/nowhere"}}}}, "TLS cannot be set up"),
        ({"amqp": {"a": {"declare": {}}}}, "declare needs the exchange's name"),
        ({"match_plugin": "regex", "internal": {"a(": {}}}, "its name is not a valid pattern"),
        ({"match_plugin": "globb", "internal": {"a": {}}}, "unknown match plugin 'globb'; did you mean 'glob'?"),
    ],
)
async def test_the_error_about_a_wrong_profile_says_what_is_right(hub, contexts, said):
    assert said in await refused(hub, contexts)


async def test_every_wrong_profile_is_named_at_once(hub):
    message = await refused(hub, {"internal": {"a": {"x": 1}, "b": {}, "c": {"serializer": "no"}}})

    assert "internal:a" in message
    assert "internal:c" in message
    assert "internal:b" not in message


async def test_an_unknown_provider_is_named_and_the_others_are_used(hub, caplog):
    assert names(hub, {"kafak": {"a": {}}, "internal": {"b": {}}}) == ["internal:b"]
    assert "no ingress plugin takes the provider 'kafak'; did you mean 'kafka'?" in caplog.text


@pytest.mark.parametrize(
    "acct",
    [
        {"amqp": {"a": {"connection": "amqp://me:hunter2@h", "exchnge": "x"}}},
        {"amqp": {"a": {"connection": "amqp://me:hunter2@h:99999"}}},
        {"amqp": {"a": {"connection": {"password": "hunter2", "port": "x"}}}},
        {"kafka": {"a": {"connection": {"sasl_plain_username": "u", "sasl_plain_password": "hunter2"}}}},
        {"amqp": {"a": {"ssl": {"cert_file": "/nowhere", "password": "hunter2"}}}},
    ],
    ids=str,
)
async def test_an_error_about_a_profile_shows_no_secret(hub, acct):
    assert "hunter2" not in await refused(hub, acct)


@pytest.mark.parametrize(
    ("matcher", "pattern", "yes", "no"),
    [("glob", "orders.*", "orders.eu", "order"), ("regex", "o+", "oo", "oox"), ("exact", "o*", "o*", "oo")],
)
async def test_the_profile_s_name_is_the_pattern(hub, matcher, pattern, yes, no):
    (entry,) = plan.entries(hub, {"match_plugin": matcher, "internal": {pattern: {}}}, lambda failure: None)

    assert entry.matches(yes)
    assert not entry.matches(no)


async def test_the_serializer_of_a_profile_overrides_the_default(hub, monkeypatch):
    monkeypatch.setattr(hub.serialize, "PLUGIN", "yaml")
    made = plan.entries(hub, {"internal": [{"a": {}}, {"b": {"serializer": "msgpack"}}]}, lambda failure: None)

    assert [entry.serializer.name for entry in made] == ["yaml", "msgpack"]
    assert made[0].serializer.dump({"a": 1}) == b"a: 1\n"


async def test_a_profile_shares_its_serializer_with_others_of_that_name(hub):
    made = plan.entries(hub, {"internal": {"a": {}, "b": {}}}, lambda failure: None)

    assert made[0].serializer is made[1].serializer


async def test_the_limits_of_a_plugin_become_those_of_its_lane(hub):
    amqp, kafka, small = plan.entries(
        hub,
        {
            "amqp": {"a": {}},
            "kafka": {"b": {"connection": {"max_request_size": 10_000}}},
            "internal": {"c": {"max_event_bytes": 5}},
        },
        lambda failure: None,
    )

    assert amqp.lane.max_event_bytes == 16 * 1024 * 1024
    assert kafka.lane.max_event_bytes == 10_000 - 4096
    assert small.lane.max_event_bytes == 5
