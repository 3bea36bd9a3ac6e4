"""amqp/settings.py: where to connect, and never in plain text if TLS was asked for."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evbus_like.amqp.settings import check_declare, target
from evbus_like.engine.errors import ProfileError


def test_the_default_connection_is_the_local_broker():
    made = target({})

    assert (str(made.url.with_user(None)), made.user, made.context) == ("amqp://localhost:5672//", "guest", None)


@pytest.mark.parametrize(
    "connection",
    ["amqp://u:p@h/v", {"url": "amqp://u:p@h/v"}, {"host": "h", "login": "u", "password": "p", "virtualhost": "v"}],
)
def test_a_url_and_keywords_lead_to_the_same_place(connection):
    made = target({"connection": connection})

    assert (made.url.scheme, made.url.host, made.url.port, made.url.path) == ("amqp", "h", 5672, "/v")
    assert (made.url.user, made.url.password) == ("u", "p")


@given(
    password=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1),
    login=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1),
)
def test_any_login_and_password_reach_the_library_unchanged(password, login):
    made = target({"connection": {"login": login, "password": password}})

    assert (made.url.user, made.url.password) == (login, password)


def test_neither_repr_nor_place_shows_the_password():
    made = target({"connection": "amqp://me:hunter2@h/v"})

    assert "hunter2" not in f"{made!r} {made} {made.place}"
    assert made.place == "h:5672 virtual host v"


WAYS = {
    "amqps url": {"connection": "amqps://h"},
    "ssl: true": {"connection": {"host": "h", "ssl": True}},
    "ssl: true beside a url": {"connection": {"url": "amqp://h", "ssl": True}},
    "ssl_options": {"connection": {"host": "h", "ssl_options": {"no_verify_ssl": 1}}},
    "empty ssl_options": {"connection": {"host": "h", "ssl_options": {}}},
    "ssl block beside a url": {"connection": "amqp://h", "ssl": {"check_hostname": True}},
    "ssl block beside keywords": {"connection": {"host": "h"}, "ssl": {"check_hostname": True}},
    "ssl block alone": {"ssl": {"check_hostname": True}},
    "empty ssl block beside a url": {"connection": "amqp://h", "ssl": {}},
    "empty ssl block beside keywords": {"connection": {"host": "h"}, "ssl": {}},
    "ssl block against ssl: false": {"connection": {"host": "h", "ssl": False}, "ssl": {"check_hostname": True}},
}


@pytest.mark.parametrize("acct", WAYS.values(), ids=WAYS)
def test_every_way_of_asking_for_tls_gives_tls_or_an_error(acct):
    try:
        made = target(acct)
    except ProfileError:
        return

    assert made.url.scheme == "amqps"  # aiormq speaks TLS for this scheme alone
    assert made.url.port == 5671
    assert isinstance(made.context, ssl.SSLContext)


def test_a_given_port_is_kept_with_tls():
    assert target({"connection": "amqps://h:1234"}).url.port == 1234


@pytest.mark.parametrize(
    "acct",
    [
        {"connection": "amqps://h?cafile=/nowhere/ca.pem"},
        {"connection": {"url": "amqps://h", "ssl_options": {"cafile": "/nowhere/ca.pem"}}},
        {"connection": "amqps://h", "ssl": {"ca_file": "/nowhere/ca.pem"}},
        {"connection": {"host": "h", "ssl": True}, "ssl": {"cert_file": "/nowhere/cert.pem"}},
    ],
    ids=str,
)
def test_tls_that_cannot_be_set_up_is_an_error(acct):
    with pytest.raises(ProfileError, match="TLS cannot be set up"):
        target(acct)


@pytest.mark.parametrize("word", [0, False, "0", "false", "False", "no", "off", "", None], ids=repr)
def test_no_verify_ssl_that_is_not_true_leaves_verification_on(word):
    try:
        made = target({"connection": {"host": "h", "ssl_options": {"no_verify_ssl": word}}})
    except ProfileError:
        return

    assert made.context.verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize("word", [1, True, "1", "true"], ids=repr)
def test_no_verify_ssl_turns_verification_off_by_name(word):
    made = target({"connection": {"host": "h", "ssl_options": {"no_verify_ssl": word}}})

    assert made.context.verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize(
    ("connection", "said"),
    [
        ({"hots": "h"}, "no option connection.hots; did you mean 'host'?"),
        ({"port": "5672"}, "connection.port must be of type int"),
        ({"url": "amqp://h", "host": "h"}, "a url and also host"),
        ("http://u:hunter2@h", "must begin with amqp://"),
        ("u:hunter2@h", "must begin with amqp://"),
        ("amqp://u:hunter2@h:70000", "no valid URL"),
        ("amqp://", "no valid URL"),
        ({"host": "h", "ssl_options": {"ca": "x"}}, "no option connection.ssl_options.ca"),
    ],
)
def test_a_wrong_connection_is_named_without_its_password(connection, said):
    with pytest.raises(ProfileError) as caught:
        target({"connection": connection})

    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("connection", [{"port": 70000}, {"port": -1}, {"host": ""}], ids=str)
def test_an_impossible_address_is_a_profile_error(connection):
    with pytest.raises(ProfileError):
        target({"connection": connection})


def test_heartbeat_and_name_are_in_the_url():
    query = target({"connection": {"heartbeat": 20, "name": "me"}}).url.query

    assert (query["heartbeat"], query["name"]) == ("20", "me")


@pytest.mark.parametrize(
    ("acct", "said"),
    [
        ({"declare": {}}, "declare needs the exchange's name"),
        ({"declare": {}, "exchange": "default"}, "declare needs the exchange's name"),
        ({"declare": {"tpye": "topic"}, "exchange": "x"}, "did you mean 'type'?"),
        ({"declare": {"durable": "yes"}, "exchange": "x"}, "must be of type bool"),
    ],
)
def test_a_wrong_declaration_is_named(acct, said):
    with pytest.raises(ProfileError) as caught:
        check_declare(acct)

    assert said in str(caught.value)


def test_a_correct_declaration_and_none_are_accepted():
    check_declare({})
    check_declare({"declare": {"type": "topic", "durable": True}, "exchange": "orders"})
