"""kafka/connection.py: the client's keywords, and TLS that fails closed."""

import ssl

import pytest

from evbus_like.engine.errors import ProfileError
from evbus_like.kafka import producer as producer_module
from evbus_like.kafka.connection import address, keywords

USER = {"sasl_plain_username": "u", "sasl_plain_password": "hunter2"}


def test_without_a_connection_it_is_the_local_cluster():
    assert keywords({}) == {"bootstrap_servers": "localhost:9092", "security_protocol": "PLAINTEXT"}


@pytest.mark.parametrize(
    ("acct", "protocol"),
    [
        ({"ssl": {}}, "SSL"),
        ({"connection": {"security_protocol": "SSL"}}, "SSL"),
        ({"connection": {"ssl_context": ssl.create_default_context()}}, "SSL"),
        ({"connection": {"sasl_mechanism": "SCRAM-SHA-256", **USER}, "ssl": {}}, "SASL_SSL"),
        ({"connection": {"security_protocol": "SASL_SSL", **USER}}, "SASL_SSL"),
        ({"connection": USER, "ssl": {}}, "SASL_SSL"),
    ],
)
def test_every_way_of_asking_for_tls_gives_verified_tls(acct, protocol):
    made = keywords(acct)

    assert made["security_protocol"] == protocol
    assert made["ssl_context"].verify_mode == ssl.CERT_REQUIRED
    assert made["ssl_context"].check_hostname


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SASL_PLAINTEXT"])
def test_an_ssl_block_and_a_protocol_without_tls_are_an_error(protocol):
    with pytest.raises(ProfileError, match="has no TLS"):
        keywords({"connection": {"security_protocol": protocol}, "ssl": {}})


def test_a_tls_context_and_a_protocol_without_tls_are_an_error():
    with pytest.raises(ProfileError):
        keywords({"connection": {"security_protocol": "PLAINTEXT", "ssl_context": ssl.create_default_context()}})


@pytest.mark.parametrize("block", [{"ca_file": "/nowhere"}, {"cert_file": "/nowhere"}, {"cafile": "x"}])
def test_tls_that_cannot_be_set_up_is_an_error(block):
    with pytest.raises(ProfileError):
        keywords({"ssl": block})


def test_a_plain_password_without_tls_is_refused_unless_allowed_by_name():
    with pytest.raises(ProfileError, match="allow_plaintext_password") as caught:
        keywords({"connection": USER})
    assert "hunter2" not in str(caught.value)

    assert keywords({"connection": USER, "allow_plaintext_password": True})["security_protocol"] == "SASL_PLAINTEXT"
    assert (
        keywords({"connection": {**USER, "sasl_mechanism": "SCRAM-SHA-512"}})["security_protocol"] == "SASL_PLAINTEXT"
    )


@pytest.mark.parametrize("missing", ["sasl_plain_username", "sasl_plain_password"])
def test_a_login_without_its_other_half_is_an_error(missing):
    given = {"security_protocol": "SASL_SSL", **USER, missing: None}

    with pytest.raises(ProfileError, match=missing):
        keywords({"connection": given})


@pytest.mark.parametrize(
    ("connection", "said"),
    [
        ({"bootstrap_server": "h"}, "did you mean 'bootstrap_servers'?"),
        ({"security_protocol": "ssl"}, "not 'ssl'"),
        ({"linger_ms": "1"}, "linger_ms must be of type int or float"),
        ({"enable_idempotence": 1}, "enable_idempotence must be of type bool"),
    ],
)
def test_a_wrong_option_is_named(connection, said):
    with pytest.raises(ProfileError) as caught:
        keywords({"connection": connection})

    assert said in str(caught.value)


def test_the_profile_s_own_data_is_not_changed():
    acct = {"connection": {"bootstrap_servers": ("a:1", "b:2"), "api_version": "auto"}, "ssl": {}}

    made = keywords(acct)

    assert made["bootstrap_servers"] == ["a:1", "b:2"]
    assert "api_version" not in made
    assert acct == {"connection": {"bootstrap_servers": ("a:1", "b:2"), "api_version": "auto"}, "ssl": {}}


def test_a_place_is_for_people():
    assert address({}) == "localhost:9092"
    assert address({"bootstrap_servers": ["a:1", "b:2"]}) == "a:1, b:2"


@pytest.mark.parametrize(("connection", "acks", "idempotent"), [({}, "all", True), ({"acks": 1}, 1, False)])
async def test_a_record_is_confirmed_by_all_replicas_unless_the_profile_says_otherwise(
    connection, acks, idempotent, monkeypatch
):
    given = {}

    def refuse(**options):
        given.update(options)
        raise ValueError("no cluster in this test")

    monkeypatch.setattr(producer_module.aiokafka, "AIOKafkaProducer", refuse)
    with pytest.raises(ProfileError, match="no cluster"):
        await producer_module.Producer({"connection": connection}).open()

    assert (given["acks"], given["enable_idempotence"]) == (acks, idempotent)
