"""TLS fails closed: the connection is as secure as configured, or the events wait and the error says why."""

import ssl

import pytest

from evbus_like.testing import running
from tests.brokers.certs import make_certs
from tests.integration.support import queue, read, take, trouble_with

pytestmark = pytest.mark.usefixtures("no_endless_loop")


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    return make_certs(tmp_path_factory.mktemp("certs"))


def amqp(address, ca=None, scheme="amqps"):
    data = {"connection": {"url": f"{scheme}://guest:guest@{address}/"}}
    return {"amqp": {"default": {**data, **({"ssl": {"ca_file": str(ca)}} if ca else {})}}}


def kafka_profile(address, ca=None, protocol="SSL"):
    data = {"connection": {"bootstrap_servers": address, "security_protocol": protocol}}
    return {"kafka": {"default": {**data, **({"ssl": {"ca_file": str(ca)}} if ca else {})}}}


PROFILES = pytest.mark.parametrize("profiles", [amqp, kafka_profile], ids=["amqp", "kafka"])


async def test_an_event_reaches_rabbitmq_over_tls(rabbitmq, fresh_name):
    ca = rabbitmq.needs_tls().ca
    async with queue(rabbitmq.url, fresh_name) as made, running(amqp(f"localhost:{rabbitmq.tls_port}", ca)) as hub:
        await hub.evbus.broker.put(fresh_name, "secret", confirm="delivered")
        assert [message.body for message in await take(made, 1)] == [b'"secret"']


async def test_an_ssl_block_turns_a_plain_url_into_tls(rabbitmq, fresh_name):
    profiles = amqp(f"localhost:{rabbitmq.tls_port}", rabbitmq.needs_tls().ca, scheme="amqp")
    async with queue(rabbitmq.url, fresh_name) as made, running(profiles) as hub:
        await hub.evbus.broker.put(fresh_name, "secret", confirm="delivered")
        assert len(await take(made, 1)) == 1


async def test_an_event_reaches_kafka_over_tls(kafka, fresh_name):
    async with running(kafka_profile(kafka.ssl_bootstrap, kafka.needs_tls().ca)) as hub:
        await hub.evbus.broker.put(fresh_name, "secret", confirm="delivered")
    assert [record.value for record in await read(kafka.bootstrap, fresh_name, 1)] == [b'"secret"']


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_an_event_reaches_kafka_over_tls_with_a_password(kafka, fresh_name, mechanism):
    profiles = scram(kafka, kafka.needs_tls().ca, kafka.sasl_password, mechanism)
    async with running(profiles) as hub:
        await hub.evbus.broker.put(fresh_name, "known", confirm="delivered")
    assert [record.value for record in await read(kafka.bootstrap, fresh_name, 1)] == [b'"known"']


async def test_a_wrong_scram_password_is_reported_with_the_address_and_never_shown(kafka, caplog):
    profiles = scram(kafka, kafka.needs_tls().ca, "not-this-one", "SCRAM-SHA-256")
    trouble = await trouble_with(profiles, "refused")
    assert kafka.sasl_bootstrap in trouble
    assert "refused the login" in trouble
    assert kafka.sasl_user in trouble
    assert "not-this-one" not in caplog.text + trouble


def scram(kafka, ca, password, mechanism):
    login = {"sasl_mechanism": mechanism, "sasl_plain_username": kafka.sasl_user, "sasl_plain_password": password}
    profiles = kafka_profile(kafka.sasl_bootstrap, ca, "SASL_SSL")
    profiles["kafka"]["default"]["connection"].update(login)
    return profiles


async def test_a_rabbitmq_certificate_of_another_ca_is_refused(rabbitmq):
    profiles = amqp(f"localhost:{rabbitmq.tls_port}", rabbitmq.needs_tls().wrong_ca)
    assert "certificate" in await trouble_with(profiles, "refused")


async def test_a_kafka_certificate_of_another_ca_is_refused(kafka):
    profiles = kafka_profile(kafka.ssl_bootstrap, kafka.needs_tls().wrong_ca)
    assert "certificate" in await trouble_with(profiles, "refused")


async def test_without_a_ca_file_a_certificate_of_an_unknown_ca_is_refused(rabbitmq, kafka):
    rabbitmq.needs_tls(), kafka.needs_tls()
    assert "certificate" in await trouble_with(amqp(f"localhost:{rabbitmq.tls_port}"), "refused")
    assert "certificate" in await trouble_with(kafka_profile(kafka.ssl_bootstrap), "refused")


@PROFILES
async def test_a_certificate_for_another_host_is_refused(profiles, certs, tls_server):
    async with tls_server(certs.wrong_host_pem) as (port, accepted):
        trouble = await trouble_with(profiles(f"localhost:{port}", certs.ca), "refused")
    assert f"localhost:{port}" in trouble
    assert "ostname mismatch" in trouble
    assert not accepted


@PROFILES
async def test_an_expired_certificate_is_refused(profiles, certs, tls_server):
    async with tls_server(certs.expired_pem) as (port, accepted):
        trouble = await trouble_with(profiles(f"localhost:{port}", certs.ca), "refused")
    assert "expired" in trouble
    assert not accepted


@PROFILES
async def test_a_certificate_for_another_host_is_accepted_only_if_the_profile_says_so(profiles, certs, tls_server):
    data = profiles("localhost:1", certs.ca)
    (provider,) = data
    data[provider]["default"]["ssl"]["check_hostname"] = False
    async with tls_server(certs.wrong_host_pem) as (port, accepted):
        address = data[provider]["default"]["connection"]
        address.update({name: value.replace("localhost:1", f"localhost:{port}") for name, value in address.items()})
        await trouble_with(data, "retrying")  # the server hangs up after the handshake
    assert accepted


async def test_tls_to_the_plain_port_of_rabbitmq_fails_with_an_error_about_tls(rabbitmq, certs):
    trouble = await trouble_with(amqp(f"localhost:{rabbitmq.port}", certs.ca), "refused", "retrying")
    assert str(rabbitmq.port) in trouble
    assert "TLS" in trouble


async def test_tls_to_the_plain_port_of_kafka_fails_with_an_error_about_tls(kafka, certs):
    trouble = await trouble_with(kafka_profile(kafka.bootstrap, certs.ca), "refused", "retrying")
    assert kafka.bootstrap in trouble
    assert "TLS" in trouble


async def test_plain_amqp_to_the_tls_port_fails_with_an_error_about_tls(rabbitmq):
    rabbitmq.needs_tls()
    trouble = await trouble_with(amqp(f"localhost:{rabbitmq.tls_port}", scheme="amqp"), "refused", "retrying")
    assert str(rabbitmq.tls_port) in trouble
    assert "TLS" in trouble


async def test_plain_kafka_to_the_tls_port_fails_with_an_error_about_tls(kafka):
    kafka.needs_tls()
    trouble = await trouble_with(kafka_profile(kafka.ssl_bootstrap, protocol="PLAINTEXT"), "refused", "retrying")
    assert kafka.ssl_bootstrap in trouble
    assert "TLS" in trouble


@PROFILES
async def test_a_missing_ca_file_stops_the_start_and_never_falls_back_to_plaintext(profiles, tmp_path):
    with pytest.raises(ValueError, match=r"gone\.pem"):
        async with running(profiles("localhost:1", tmp_path / "gone.pem")):
            pass


def test_the_certificates_of_these_tests_are_otherwise_valid(certs):
    for pem in (certs.server_pem, certs.wrong_host_pem, certs.expired_pem):
        ssl.create_default_context(cafile=certs.ca).load_cert_chain(pem)
