"""The connection of a profile to Kafka: options, and the keywords of aiokafka's clients."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from evbus_like import tls
from evbus_like.engine.errors import ProfileError
from evbus_like.engine.host_names import host_and_port, is_host
from evbus_like.engine.options import problems
from evbus_like.engine.suggest import shown

NUMBER = (int, float)
TEXTS = (str, list, tuple)
CONNECTION = {
    "bootstrap_servers": (TEXTS, "host:port, or a list of them (default: localhost:9092)"),
    "client_id": ((str, type(None)), "the client's name in the broker's logs (default: aiokafka's)"),
    "security_protocol": (
        str,
        "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL (default: follows from ssl and sasl_mechanism)",
    ),
    "sasl_mechanism": (str, "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, GSSAPI or OAUTHBEARER (default: PLAIN)"),
    "sasl_plain_username": ((str, type(None)), "the user, for PLAIN and SCRAM"),
    "sasl_plain_password": ((str, type(None)), "the user's password, for PLAIN and SCRAM"),
    "sasl_kerberos_service_name": (str, "for GSSAPI (default: kafka)"),
    "sasl_kerberos_domain_name": ((str, type(None)), "for GSSAPI"),
    "ssl_context": (object, "a ready ssl.SSLContext, from an application's acct plugin; not for files"),
    "acks": (
        (str, int),
        "how many replicas must have an event: all, 1 or 0; with 1 or 0 a broker's crash loses events (default: all)",
    ),
    "enable_idempotence": (bool, "the broker drops the producer's own repeats (default: true; false with acks 1 or 0)"),
    "compression_type": ((str, type(None)), "gzip, snappy, lz4, zstd (default: none)"),
    "max_batch_size": (int, "bytes of one partition's batch, before compression (default: 262144)"),
    "linger_ms": (NUMBER, "milliseconds that a batch waits to fill (default: 0)"),
    "max_request_size": (int, "bytes of the largest request, and so of the largest event (default: 1048576)"),
    "request_timeout_ms": (int, "milliseconds that one request may take (default: 20000)"),
    "retry_backoff_ms": (int, "milliseconds between the client's own tries (default: 100)"),
    "metadata_max_age_ms": (int, "milliseconds until the client looks at the cluster anew (default: 300000)"),
    "connections_max_idle_ms": (int, "milliseconds until an idle connection is closed (default: 540000)"),
    "api_version": ((str, type(None)), "accepted for older profiles; without effect"),
}
CODECS = (None, "gzip", "snappy", "lz4", "zstd")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER")
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")


def keywords(acct: Mapping[str, Any]) -> dict[str, Any]:
    """Give the keywords of a profile's connection, TLS context included; raises ProfileError.

    An `ssl:` block or an SSL protocol means TLS or an error, never a plain connection.
    """
    given = dict(acct.get("connection") or {})
    wrong = list(problems(given, CONNECTION, "connection."))
    if wrong:
        raise ProfileError("; ".join(wrong))
    given.pop("api_version", None)
    protocol = given.get("security_protocol") or _protocol(acct, given)
    if protocol not in PROTOCOLS:
        raise ProfileError(f"connection.security_protocol is one of {', '.join(PROTOCOLS)}, not {shown(protocol)}")
    asked = "an ssl block" if acct.get("ssl") is not None else "an ssl_context" if given.get("ssl_context") else ""
    if asked and not protocol.endswith("SSL"):
        raise ProfileError(f"the profile has {asked}, and security_protocol {protocol} has no TLS; drop one of them")
    _check_values(given)
    plain_password = given.get("sasl_mechanism", "PLAIN") == "PLAIN" and protocol == "SASL_PLAINTEXT"
    if plain_password and not acct.get("allow_plaintext_password"):
        raise ProfileError(
            "SASL PLAIN without TLS sends the password over the network in plain text: use security_protocol SASL_SSL"
            " or SCRAM, or set allow_plaintext_password: true"
        )
    if protocol.startswith("SASL") and given.get("sasl_mechanism", "PLAIN") in (
        "PLAIN",
        "SCRAM-SHA-256",
        "SCRAM-SHA-512",
    ):
        missing = [n for n in ("sasl_plain_username", "sasl_plain_password") if not given.get(n)]
        if missing:
            raise ProfileError(f"{protocol} needs connection.{' and connection.'.join(missing)}")
    given["security_protocol"] = protocol
    if protocol.endswith("SSL") and given.get("ssl_context") is None:
        given["ssl_context"] = tls.context(acct.get("ssl") or {})
    given.setdefault("bootstrap_servers", "localhost:9092")
    if isinstance(given["bootstrap_servers"], tuple):
        given["bootstrap_servers"] = list(given["bootstrap_servers"])
    return given


def _is_server(text: str) -> bool:
    split = host_and_port(text)
    if split is None:
        return ":" in text and is_host(text)  # an IPv6 address without a port
    return split.port is None or 0 < split.port < 65536


def _check_values(given: Mapping[str, Any]) -> None:
    """Refuse values that aiokafka would refuse only when it connects."""
    servers = given.get("bootstrap_servers", "localhost")
    for number, server in enumerate(servers.split(",") if isinstance(servers, str) else servers, 1):
        if not server.strip():
            raise ProfileError(f"entry {number} of connection.bootstrap_servers is empty; is there a comma too many?")
        if not _is_server(server.strip()):
            raise ProfileError(
                f"entry {number} of connection.bootstrap_servers is no host:port, and is not shown, because a URL may"
                " hold a password: user and password are the options sasl_plain_username, sasl_plain_password; an IPv6"
                " address is written [::1]:9092"
            )
    if given.get("sasl_mechanism") not in (None, *MECHANISMS):
        raise ProfileError(
            f"connection.sasl_mechanism is one of {', '.join(MECHANISMS)}, not {shown(given['sasl_mechanism'])}"
        )
    if given.get("ssl_context") is not None and not isinstance(given["ssl_context"], ssl.SSLContext):
        raise ProfileError(
            f"connection.ssl_context must be an ssl.SSLContext, not {type(given['ssl_context']).__name__};"
            " in a credentials file use the option ssl"
        )
    codec = given.get("compression_type")
    if codec not in CODECS:
        raise ProfileError(f"connection.compression_type is one of gzip, snappy, lz4, zstd, not {shown(codec)}")
    acks = given.get("acks", "all")
    if acks not in ("all", -1, 0, 1):
        raise ProfileError(f"connection.acks is all, 1 or 0, not {shown(acks)}")
    if given.get("enable_idempotence") and acks not in ("all", -1):
        raise ProfileError(f"connection.enable_idempotence needs acks: all, not {shown(acks)}")


def _protocol(acct: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Derive the protocol from the other options of the profile."""
    secure = acct.get("ssl") is not None or given.get("ssl_context") is not None
    if given.get("sasl_mechanism") or given.get("sasl_plain_username"):
        return "SASL_SSL" if secure else "SASL_PLAINTEXT"
    return "SSL" if secure else "PLAINTEXT"


def address(given: Mapping[str, Any]) -> str:
    """Give the servers of a connection, for messages."""
    servers = given.get("bootstrap_servers") or "localhost:9092"
    return servers if isinstance(servers, str) else ", ".join(servers)
