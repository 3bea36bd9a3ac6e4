"""amqp/settings.py: where to connect, and never in plain text if TLS was asked for."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evbus_like.amqp.settings import check_declare, target, targets
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
        ({"hots": "h"}, "no option connection.hots; did you mean 'hosts'?"),
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


CLUSTERS = {
    "URLs": ["amqp://u:p@a/v", "amqp://u:p@b:5673/v"],
    "hosts": {"hosts": ["a", "b:5673"], "login": "u", "password": "p", "virtualhost": "v"},
    "hosts in a text": {"hosts": "a, b:5673", "login": "u", "password": "p", "virtualhost": "v"},
    "hosts with a port": {"hosts": ["a:5672", "b"], "port": 5673, "login": "u", "password": "p", "virtualhost": "v"},
}


@pytest.mark.parametrize("connection", CLUSTERS.values(), ids=CLUSTERS)
def test_a_cluster_is_a_list_of_urls_or_of_hosts(connection):
    made = targets({"connection": connection})

    assert [each.place for each in made] == ["a:5672 virtual host v", "b:5673 virtual host v"]
    assert {(each.url.user, each.url.password, each.url.path) for each in made} == {("u", "p", "/v")}


def test_several_hosts_have_a_short_heartbeat_unless_the_profile_has_one():
    heartbeats = [
        targets({"connection": connection})[0].url.query.get("heartbeat")
        for connection in ("amqp://a", ["amqp://a", "amqp://b"], {"hosts": ["a", "b"], "heartbeat": 30}, ["amqp://a"])
    ]

    assert heartbeats == [None, "10", "30", None]


def test_all_hosts_have_tls_if_the_profile_asks_for_it():
    made = targets({"connection": {"hosts": ["a", "b:1234", "[::1]"], "ssl": True}})

    assert [(each.url.scheme, each.url.host, each.url.port) for each in made] == [
        ("amqps", "a", 5671),
        ("amqps", "b", 1234),
        ("amqps", "::1", 5671),
    ]


def test_an_ipv6_address_is_in_brackets_in_messages_too():
    connections = ["amqp://[::1]/v", {"hosts": ["[::1]"]}, {"host": "::1"}, {"hosts": ["[::1]:5673"]}]

    assert [targets({"connection": connection})[0].place for connection in connections] == [
        "[::1]:5672 virtual host v",
        "[::1]:5672",
        "[::1]:5672",
        "[::1]:5673",
    ]


def test_a_host_that_is_named_twice_counts_once():
    assert len(targets({"connection": {"hosts": ["a", "a:5672", "b"]}})) == 2


class Section(dict):
    """A mapping of a library, as acct gives them."""


WRONG_CLUSTERS = {
    "an empty list": ([], "empty list"),
    "no hosts": ({"hosts": []}, r"connection\.hosts must not be empty"),
    "empty hosts": ({"hosts": ""}, r"connection\.hosts must not be empty"),
    "an empty host": ({"hosts": ["a", ""]}, r"connection\.hosts must be a list of text, and has empty text"),
    "a comma too many": ({"hosts": "a,"}, r"entry 2 of connection\.hosts is empty; is there a comma too many\?"),
    "a comma too many in the middle": ({"hosts": "a, ,b"}, r"entry 2 of connection\.hosts is empty"),
    "two hosts in one entry": ({"hosts": ["a,b"]}, r"entry 1 of connection\.hosts is no host"),
    "a weight": ({"hosts": ["a", "b weight=3"]}, r"entry 2 of connection\.hosts is no host"),
    "an empty part of a name": ({"hosts": ["a", "b..example"]}, r"entry 2 of connection\.hosts is no host"),
    "a part of a name that is too long": ({"hosts": ["a" * 64]}, r"entry 1 of connection\.hosts is no host"),
    "a number in brackets": ({"hosts": ["[1]"]}, r"entry 1 of connection\.hosts is no host"),
    "hosts in a URL": ("amqp://u:hunter2@a,b/", "For several hosts, connection is a list of URLs"),
    "an impossible name in a URL": ("amqp://a..b/", r"connection\.url is no valid URL"),
    "a number": ({"hosts": ["a", 5672]}, r"connection\.hosts must be a list of text, and has int"),
    "a mapping in the list": ([{"host": "a"}], "its entry 1 is no URL but a dict"),
    "nothing in the list": (["amqp://a", None], "its entry 2 is no URL but a NoneType"),
    "a host in the list": (["amqp://a", "b"], r"URL 2 of 2: connection\.url must begin with amqp://"),
    "an impossible port": ({"hosts": ["b", "a:70000"]}, r"^entry 2 of connection\.hosts: option port must be from 1"),
    "port 0": ({"hosts": ["a:0"]}, r"^entry 1 of connection\.hosts: option port must be"),
    "a mapping of hosts": ({"hosts": Section(a=5672)}, r"connection\.hosts must be of type .*, not dict$"),
    "a URL among hosts": ({"hosts": ["amqp://u:hunter2@a"]}, r"entry 1 of connection\.hosts is no host"),
    "an address without brackets": ({"hosts": ["::1"]}, r"is written \[::1\]"),
    "hosts and a URL": ({"hosts": ["a"], "url": "amqp://b"}, "hosts and also url"),
    "hosts and a host": ({"hosts": ["a"], "host": "b"}, "hosts and also host"),
    "mixed TLS": (["amqp://a", "amqps://b"], "differ in their scheme: use amqps:// in all"),
    "other users": (["amqp://u:p@a", "amqp://v:p@b"], "differ in their user;"),
    "other passwords": (["amqp://u:hunter2@a", "amqp://u:hunter22@b"], "differ in their password;"),
    "other virtual hosts": (["amqp://a/v", "amqp://b/w"], "differ in their virtual host;"),
    "another query": (["amqp://a?heartbeat=5", "amqp://b"], "differ in their query;"),
}


@pytest.mark.parametrize(("connection", "said"), WRONG_CLUSTERS.values(), ids=WRONG_CLUSTERS)
def test_a_wrong_cluster_is_refused_with_the_reason_and_without_a_password(connection, said):
    with pytest.raises(ProfileError, match=said) as caught:
        targets({"connection": connection})

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("slash", ["", "/", "//"], ids=repr)
def test_the_default_virtual_host_is_the_same_however_it_is_written(slash):
    with_slash, without = targets({"connection": [f"amqp://a{slash}", "amqp://b"]})

    assert with_slash.place == "a:5672"
    assert without.place == "b:5672"
