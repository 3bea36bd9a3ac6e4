"""Every setting and every profile option, fed wrong values: refused at start with its name, and without a secret."""

import datetime
import math
import os
import re

import pytest

from evbus_like import conf, errors, tls
from evbus_like.amqp import settings as amqp_settings
from evbus_like.cli import config_file
from evbus_like.engine import options
from evbus_like.engine.receiving import handler
from evbus_like.hub import monitoring, postgres
from evbus_like.hub.profiles import plan, settings
from evbus_like.kafka import connection as kafka_connection
from evbus_like.postgres import database
from evbus_like.testing import new_hub

SECRET = "hunter2"
PROVIDERS = ("amqp", "kafka", "internal")
WRONG_NUMBERS = [
    math.nan,
    math.inf,
    -math.inf,
    -5,
    10**400,
    1e300,
    True,
    [1],
    {},
    {"s": 1},
    "10s",
    "1e",
    "1_0",
    "",
    " ",
    "nan",
    "inf",
    "-1",
    None,
    b"1",
]
SURROGATE = "a\ud800"
WRONG_TEXTS = [7, 1.5, True, ["json"], {"a": 1}, b"x", "a\0b", SURROGATE]
NUMBERS = [name for name, spec in settings.SPECS.items() if "range" in spec]
TEXTS = [
    name
    for name, spec in settings.SPECS.items()
    if "range" not in spec and not isinstance(spec["default"], (bool, list))
]


def wrong_values(name):
    """Values that a setting cannot have."""
    default = settings.SPECS[name]["default"]
    if name in NUMBERS:
        empty = [None, ""] if "words" in settings.SPECS[name] else [None]  # for "not set"
        return [each for each in WRONG_NUMBERS if default is not None or each not in empty]
    if name in TEXTS:
        if "or_number" in settings.SPECS[name]:
            return WRONG_TEXTS[1:]
        if "longest" in settings.SPECS[name]:
            return [*WRONG_TEXTS, "n" * (settings.SPECS[name]["longest"] + 1), "ä" * 101]
        return WRONG_TEXTS if default is None else [*WRONG_TEXTS, "", "  ", None]
    return (
        ["yes", 1, None, {}]
        if isinstance(default, bool)
        else ["a.b", 7, [1], [None], {"a": 1}, None, [SURROGATE], ["a\0"]]
    )


@pytest.fixture(scope="module")
def one_hub():
    """A hub for all tests of this file; none starts its bus."""
    return new_hub()


@pytest.mark.parametrize("name", conf.CONFIG)
def test_a_wrong_value_of_a_setting_is_named_in_an_application_and_in_a_file(one_hub, name):
    hub = one_hub
    for value in wrong_values(name):
        hub.OPT = {"evbus_like": {name: value}}
        with pytest.raises(errors.ProfileError, match=rf"setting {name} must .*\(hub.OPT.evbus_like.{name}\)"):
            settings.check(hub, conf.CONFIG)
        problem, _ = settings.checked(name, value)
        assert list(config_file._problems({"evbus_like": {name: value}})) == [f"setting {name} {problem}"]


async def test_the_bus_does_not_start_with_a_wrong_setting(hub):
    for name in settings.BUS:
        hub.OPT = {"evbus_like": {name: wrong_values(name)[0]}}
        with pytest.raises(errors.SettingError, match=name):
            await hub.evbus.init.start({"internal": {"default": None}})


def test_a_number_has_a_range_and_a_unit():
    for name in NUMBERS:
        least, most, unit = settings.SPECS[name]["range"]
        assert 0 <= least < most, name
        assert unit.isascii(), name


@pytest.mark.parametrize(("text", "value"), [("10", 10.0), ("0.5", 0.5), (" 7 ", 7.0), (3, 3.0), ("1e1", 10.0)])
def test_a_number_may_be_text_because_the_environment_has_nothing_else(hub, text, value):
    hub.OPT = {"evbus_like": {"stop_timeout": text}}
    assert settings.config(hub, "stop_timeout") == value
    assert settings.config(hub, "put_timeout", 30.0) == 30.0  # a configuration without it


def test_a_value_of_the_environment_is_reported_as_such(hub, monkeypatch):
    monkeypatch.setitem(os.environ, "EVBUS_STOP_TIMEOUT", "10s")
    hub.OPT = {"evbus_like": {"stop_timeout": "10s"}}
    with pytest.raises(errors.SettingError) as caught:
        settings.check(hub)
    assert str(caught.value) == (
        "setting stop_timeout must be a number of seconds from 0 to 31536000, not '10s'"
        " (environment variable EVBUS_STOP_TIMEOUT)"
    )


def test_a_wrong_http_port_is_reported_with_the_place_that_it_came_from(hub, monkeypatch):
    monkeypatch.setenv("EVBUS_HTTP", "99999")
    hub.OPT = {"evbus_like": {"http": "99999"}}
    with pytest.raises(errors.SettingError, match=r"not '99999' \(environment variable EVBUS_HTTP\)$"):
        monitoring.access(hub, None, None, None)
    with pytest.raises(errors.SettingError, match=r"not 'a:b'$"):
        monitoring.access(hub, "a:b", None, None)


@pytest.mark.parametrize(
    ("variable", "loaded"),
    [("EVBUS_OUTBOX", ["outbox_path"]), ("EVBUS_OUTBOX", []), ("EVBUS_SERVICES_FILE", ["services_file"])],
)
async def test_an_error_about_a_file_says_which_variable_names_it(hub, monkeypatch, tmp_path, variable, loaded):
    monkeypatch.setenv(variable, str(tmp_path))
    hub.OPT = {"evbus_like": dict.fromkeys(loaded, str(tmp_path))}
    with pytest.raises(errors.EvbusError, match=rf"is a folder.*\(environment variable {variable}\)"):
        await hub.evbus.init.start({"internal": {"default": {"outbox": "always"}}})


def test_the_values_of_sensitive_settings_and_the_passwords_of_urls_are_not_shown(hub):
    hub.OPT = {"evbus_like": {"acct_key": [SECRET], "put_timeout": f"amqp://u:{SECRET}@h"}}
    with pytest.raises(errors.SettingError) as caught:
        settings.check(hub)
    assert SECRET not in str(caught.value)


def test_a_misspelled_setting_is_named_and_those_of_pop_are_not(hub):
    hub.OPT = {"evbus_like": {"stop_timout": 1, "log_level": "info", "unheard_of": 7}}
    with pytest.raises(errors.SettingError) as caught:
        settings.check(hub)
    assert str(caught.value).startswith("there is no setting stop_timout; did you mean 'stop_timeout'?")


# ---- profiles

WRONG_OPTIONS = [
    math.nan,
    math.inf,
    -(10**400),
    1e300,
    -7,
    True,
    1,
    "",
    " \0",
    SURROGATE,
    [SURROGATE],
    ["a\0"],
    "10s",
    [],
    [1],
    [""],
    {},
    {"x": 1},
    None,
]


def hubs_options():
    """(provider, option path, types) of every option of the shipped providers."""
    hub = new_hub()
    for provider in PROVIDERS:
        specs = {**options.COMMON}
        for sub in (hub.ingress, hub.egress):
            specs.update(getattr(sub._loaded[provider], "OPTIONS", {}))
        blocks = {"retry": options.RETRY}
        if provider != "internal":
            blocks["ssl"] = tls.OPTIONS
            module = amqp_settings if provider == "amqp" else kafka_connection
            blocks["connection"] = module.CONNECTION
        if provider == "amqp":
            blocks["declare"] = amqp_settings.DECLARE
            blocks["ssl_options"] = amqp_settings.TLS_OPTIONS
        for name, spec in specs.items():
            yield provider, (name,), spec[0]
        for block, inner in blocks.items():
            for name, spec in inner.items():
                yield provider, (block, name), spec[0]


OPTIONS = list(hubs_options())


def is_right(kinds, name, value):
    """Whether a value may be an option's, by its types alone."""
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if isinstance(value, bool):
        return bool in kinds or object in kinds
    if name == "no_verify_ssl":
        return value == 1
    if value == "" or value == []:
        return name in options.MAY_BE_EMPTY
    if isinstance(value, (int, float)):
        least, most = options.RANGES.get(name, (1, 0))
        return isinstance(value, kinds) and least <= value <= most
    return isinstance(value, kinds) and value not in ([1], [""], " \0", SURROGATE, [SURROGATE], ["a\0"])


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_wrong_value_of_an_option_is_a_problem_of_the_profile_that_names_it(one_hub, provider):
    tried = 0
    for _, path, kinds in (each for each in OPTIONS if each[0] == provider):
        for value in WRONG_OPTIONS:
            if is_right(kinds, path[-1], value):
                continue
            profile = {path[0]: value} if len(path) == 1 else {path[0]: {path[1]: value}}
            profile = {"connection": profile} if path[0] == "ssl_options" and len(path) == 2 else profile
            if path[0] == "declare" and len(path) == 2:
                profile["exchange"] = "orders"
            with pytest.raises(errors.ProfileError) as caught:
                plan.entries(one_hub, {provider: {"default": profile}}, one_hub.evbus.RUNTIME.reporter)
            assert re.search(rf"\b{path[-1]}\b", str(caught.value)), (path, value, str(caught.value))
            tried += 1
    assert tried > 100


@pytest.mark.parametrize("name", database.OPTIONS)
def test_a_wrong_value_of_an_option_of_a_database_is_named(one_hub, name):
    of_one = name in ("lease", "inbox_keep")  # whose ranges begin at 1
    for value in WRONG_OPTIONS:
        if is_right(database.OPTIONS[name][0], name, value) or (of_one and value == 1 and value is not True):
            continue
        profile = {"connection": "postgresql://host/name", name: value}
        with pytest.raises(errors.ProfileError) as caught:
            postgres.of_contexts(one_hub, {"postgres": {"default": profile}})
        assert re.search(rf"\b{name}\b", str(caught.value)), (name, value, str(caught.value))


@pytest.mark.parametrize(
    ("provider", "profile", "name"),
    [
        ("amqp", {"exchange": "x" * 256}, "exchange"),
        ("amqp", {"exchange": "ä" * 128}, "exchange"),
        ("amqp", {"routing_key": "x" * 256}, "routing_key"),
        ("amqp", {"rpc_exchange": "x" * 256}, "rpc_exchange"),
        ("amqp", {"connection": {"virtualhost": "x" * 256}}, "virtualhost"),
        ("internal", {"routing_key": "x" * 256}, "routing_key"),
        ("kafka", {"topics": ["x" * 250]}, "topics"),
        ("kafka", {"topics": ["new orders"]}, "topics"),
        ("kafka", {"topics": ".."}, "topics"),
    ],
)
def test_a_name_that_no_broker_takes_is_a_problem_of_the_profile(one_hub, provider, profile, name):
    with pytest.raises(errors.ProfileError, match=rf"option (connection\.)?{name}\b"):
        plan.entries(one_hub, {provider: {"default": profile}}, one_hub.evbus.RUNTIME.reporter)


@pytest.mark.parametrize("option", ["arguments", "client_properties"])
@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"a": SURROGATE}, r"\.a must not contain '\\ud800', a lone surrogate"),
        ({"a": [{"b": "\0"}]}, r"\.a\[0\]\.b must not contain a NUL character"),
        ({"a": math.nan}, r"\.a must be a finite number of 64 bits, not nan"),
        ({"a": 2**63}, r"\.a must be a finite number of 64 bits"),
        ({"a": {"b": datetime.date(2026, 1, 31)}}, r"\.a\.b is a date, which AMQP does not have; put it in quotes"),
        ({"a": ("b",)}, r"\.a is a tuple"),
        ({1: "a"}, " has a name that is no text of 1 to 255 bytes, 1"),
        ({"": "a"}, " has a name that is no text"),
        ({SURROGATE: "a"}, " has a name that is no text"),
        ({"ä" * 128: "a"}, " has a name that is no text"),
    ],
)
def test_what_amqp_cannot_hold_of_a_table_is_a_problem_of_the_profile(one_hub, option, table, problem):
    of_exchange = option == "arguments"
    profile = {"exchange": "x", "declare": {option: table}} if of_exchange else {"connection": {option: table}}
    block = "declare" if of_exchange else "connection"
    with pytest.raises(errors.ProfileError, match=rf"option {block}\.{option}{problem}"):
        plan.entries(one_hub, {"amqp": {"default": profile}}, one_hub.evbus.RUNTIME.reporter)


@pytest.mark.parametrize("kind", ["topci", "Topic", "7", "direct,topic"])
def test_a_type_of_exchange_that_no_broker_has_is_a_problem_of_the_profile(one_hub, kind):
    profile = {"exchange": "x", "declare": {"type": kind}}
    with pytest.raises(
        errors.ProfileError, match=r"option declare\.type is topic, direct, fanout, headers, or"
    ) as caught:
        plan.entries(one_hub, {"amqp": {"default": profile}}, one_hub.evbus.RUNTIME.reporter)
    assert kind != "topci" or "did you mean 'topic'?" in str(caught.value)


@pytest.mark.parametrize("kind", [*amqp_settings.TYPES, "x-consistent-hash", "x-delayed-message"])
def test_types_of_exchange_of_the_broker_and_of_its_plugins_are_taken(one_hub, kind):
    profile = {"exchange": "x", "declare": {"type": kind, "arguments": {"a": [1, None, True, {"b": 0.5}, b"c"]}}}
    plan.entries(one_hub, {"amqp": {"default": profile}}, one_hub.evbus.RUNTIME.reporter)


def test_a_path_among_the_settings_may_have_bytes_that_are_not_utf_8():
    paths = {name for name, spec in settings.SPECS.items() if spec.get("path")}
    assert paths >= {"config", "acct_file", "outbox_path", "services_file"}
    for name in paths:
        value = ["/a/\udcff"] if isinstance(settings.SPECS[name]["default"], list) else "/a/\udcff"
        assert settings.checked(name, value) == ("", value)


def test_every_number_among_the_options_has_a_range():
    for _, path, kinds in OPTIONS:
        if isinstance(0.5, kinds) or (isinstance(1, kinds) and kinds is not bool and kinds is not object):
            assert kinds in (object, amqp_settings.FLAG) or path[-1] in options.RANGES, path


SECRET_NAMES = [
    {"connection": {"login": "u", f"password:{SECRET}": None}},
    {"connection": {"login": "u", f"password={SECRET}": None}},
    {"connection": {"login": "u", SECRET: None}},
    {"connection": {"login": "u", f"sasl_plain_password:{SECRET}": None}},
    {"connection": {f"{SECRET} {SECRET}": 1}},
    {"connection": {SECRET * 20: 1}},
    {f"connection:{SECRET}": None},
    {f"connection: password:{SECRET}": None},
    {"retry": {f"first:{SECRET}": None}},
    {"ssl": {f"password:{SECRET}": None}},
    {"ssl": SECRET},
    {"connection": {"ssl_options": {f"keyfile:{SECRET}": None}}},
    {"declare": {f"type:{SECRET}": None}, "exchange": "x"},
]


@pytest.mark.parametrize("provider", ["amqp", "kafka"])
@pytest.mark.parametrize("profile", SECRET_NAMES, ids=str)
def test_an_option_whose_name_may_hold_a_secret_is_not_shown(one_hub, caplog, provider, profile):
    caplog.set_level(0)
    with pytest.raises(errors.ProfileError) as caught:
        plan.entries(one_hub, {provider: {"default": profile}}, one_hub.evbus.RUNTIME.reporter)
    assert SECRET not in f"{caught.value} {caplog.text}"


async def test_a_profile_or_provider_whose_name_is_no_text_is_named_at_start(hub):
    names = [False, True, None, 1.1, 2024, ("a",), "", "  ", SURROGATE, "a\0"]
    for contexts in [each for name in names for each in ({"internal": {name: None}}, {name: {"default": None}})]:
        with pytest.raises(errors.ProfileError, match="the name of a provider or a profile must"):
            await hub.evbus.init.start(contexts)
        with pytest.raises(errors.CredentialsError, match="the name of a provider or a profile must"):
            await hub.evbus.acct.profiles(acct_data=contexts)


HANDLER_NUMBERS = [*handler.NUMBERS, "dedup"]


@pytest.mark.parametrize("name", HANDLER_NUMBERS)
def test_a_wrong_number_of_a_handler_is_named(name):
    for value in (math.nan, math.inf, -1, 10**400, 1e300, True, "10s", [1], {}, b"1"):
        made = handler.HandlerOptions("shop", ("sold",), **{name: value})
        assert made.problem().startswith(f"{name} must be"), value
