"""What Kafka's and aiokafka's errors mean: which of the four kinds, and what a person can do about it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import aiokafka.conn
from aiokafka import errors as kafka

from evbus_like.engine.errors import (
    DeliveryError,
    DestinationRefused,
    PoisonEvent,
    TransientError,
    UnknownOutcome,
)
from evbus_like.engine.failure import chain

REFUSED = (
    kafka.TopicAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError,
    kafka.GroupAuthorizationFailedError,
    kafka.TransactionalIdAuthorizationFailed,
    kafka.InvalidRequiredAcksError,
    kafka.InvalidSessionTimeoutError,
    kafka.InconsistentGroupProtocolError,
    kafka.PolicyViolationError,
    kafka.UnsupportedVersionError,
)
LOGIN = (
    kafka.AuthenticationFailedError,
    kafka.SaslAuthenticationFailed,
    kafka.UnsupportedSaslMechanismError,
    kafka.IllegalSaslStateError,
)
POISON = (
    kafka.MessageSizeTooLargeError,
    kafka.RecordListTooLargeError,
    kafka.RecordTooLargeError,
    kafka.InvalidTopicError,
)


def publishing(error: BaseException, place: str) -> DeliveryError:
    """Classify what went wrong with a record or a request."""
    text = f"Kafka at {place}: {type(error).__name__}: {error}"
    if isinstance(error, DeliveryError):
        return error
    if isinstance(error, LOGIN):
        return login(place, error, "")
    if isinstance(error, REFUSED):
        return DestinationRefused(f"{text}. Grant the user the right, or change the profile")
    if isinstance(error, kafka.InvalidTimestampError):
        return DestinationRefused(f"{text}. Check the clocks: the record is too far from Kafka's own time")
    if isinstance(error, POISON):
        return PoisonEvent(f"{text}. The topic's max.message.bytes or the name of the topic stands in the way")
    if isinstance(error, (kafka.RequestTimedOutError, kafka.KafkaTimeoutError, TimeoutError)):
        return UnknownOutcome(f"{text}; the event is sent again")
    return TransientError(text)


def receiving(error: BaseException, place: str) -> DeliveryError:
    """Classify what went wrong while reading, or with a dead letter: what can be tried again is, all the same."""
    kind = publishing(error, place)
    if isinstance(error, DeliveryError) or isinstance(kind, DestinationRefused):
        return kind
    return TransientError(f"Kafka at {place}: {type(error).__name__}: {error}")


def login(place: str, error: BaseException, user: str) -> DestinationRefused:
    """The error for a refused login."""
    if isinstance(error, (kafka.IllegalSaslStateError, kafka.UnsupportedSaslMechanismError)):
        advice = "does that listener speak this SASL mechanism? Check the port, security_protocol and sasl_mechanism"
    else:
        advice = "check sasl_plain_username, sasl_plain_password and sasl_mechanism"
    return DestinationRefused(
        f"Kafka at {place} refused the login of user {user!r} ({type(error).__name__}: {error}): {advice}"
    )


async def connecting(error: BaseException, place: str, client: Any) -> DeliveryError:
    """Classify what went wrong while connecting; aiokafka only says that it did, so the first server is asked again."""
    reason = await _ask_again(client) or error
    if isinstance(reason, LOGIN):
        return login(place, reason, getattr(client, "_sasl_plain_username", None) or "")
    if isinstance(reason, ssl.SSLCertVerificationError):
        return DestinationRefused(
            f"the certificate of Kafka at {place} is not accepted: {reason.verify_message};"
            " check ssl.ca_file, and that the host name is the certificate's"
        )
    if isinstance(reason, ssl.SSLError) and not isinstance(reason, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return DestinationRefused(
            f"TLS with Kafka at {place} failed ({reason.reason or reason}); does that port speak TLS?"
        )
    hint = ""
    if isinstance(reason, (ConnectionResetError, EOFError, ssl.SSLError, kafka.KafkaConnectionError)):
        secure = "SSL" in str(getattr(client, "_security_protocol", ""))
        hint = (
            "; TLS is asked for: does that port speak it?" if secure else "; does that port expect TLS? Then add ssl:"
        )
    return TransientError(f"cannot connect to Kafka at {place}: {type(reason).__name__} {reason}{hint}")


async def _ask_again(client: Any) -> BaseException | None:
    names: Mapping[str, str] = {
        "ssl_context": "_ssl_context",
        "security_protocol": "_security_protocol",
        "sasl_mechanism": "_sasl_mechanism",
        "sasl_plain_username": "_sasl_plain_username",
        "sasl_plain_password": "_sasl_plain_password",
    }
    try:
        host, port, _ = client.hosts[0]
        known = {name: getattr(client, attribute) for name, attribute in names.items()}
    except (AttributeError, IndexError):
        return None  # another aiokafka: its own words must do
    try:
        connection = await aiokafka.conn.create_conn(host, port, request_timeout_ms=5000, **known)
    except Exception as error:
        return next((cause for cause in chain(error) if isinstance(cause, ssl.SSLError)), error)
    connection.close()
    return None
