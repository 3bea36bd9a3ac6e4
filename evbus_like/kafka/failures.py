"""What the errors of Kafka and aiokafka mean: which of the four kinds they are, and what to do about them."""

from __future__ import annotations

import re
import ssl
from time import time
from typing import Any

import aiokafka.conn
from aiokafka import errors as kafka

from evbus_like.engine.errors import (
    BatchRejected,
    DeliveryError,
    DestinationRefused,
    PoisonEvent,
    TransientError,
    UnknownOutcome,
)
from evbus_like.engine.failure import chain
from evbus_like.kafka import codes, internals

RANGE = re.compile(r"within \[-?\d+, (-?\d+)\]")  # what Kafka says of a timestamp, in milliseconds
LOGIN = (
    kafka.AuthenticationFailedError,
    kafka.SaslAuthenticationFailed,
    kafka.UnsupportedSaslMechanismError,
    kafka.IllegalSaslStateError,
)
TOO_LARGE = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError, kafka.RecordTooLargeError)


def publishing(error: BaseException, address: str, topics_are_fixed: bool = True) -> DeliveryError:
    """Classify the failure of a record or a request; a topic that refuses is about its events if they choose it."""
    text = f"Kafka at {address}: {words(error)}"
    code = error.errno if isinstance(error, (internals.BrokerError, kafka.BrokerResponseError)) else None
    if isinstance(error, DeliveryError):
        return error
    if isinstance(error, LOGIN):
        return login(address, error, "")
    if isinstance(error, kafka.RecordTooLargeError) or code in codes.RECORD:
        return PoisonEvent(text)
    if isinstance(error, kafka.UnsupportedCodecError):
        return DestinationRefused(f"{text}: install cramjam")
    if code in codes.TOPIC:
        return DestinationRefused(f"{text}, or change the profile") if topics_are_fixed else PoisonEvent(text)
    if code in codes.REFUSED:
        return DestinationRefused(f"{text}. Grant the user the permission, or change the profile")
    if code == codes.TIMED_OUT or isinstance(error, (kafka.KafkaTimeoutError, TimeoutError)):
        return UnknownOutcome(f"{text}; the event is sent again")
    if code is not None and codes.uncertain(code):
        return BatchRejected(text, certain=False)
    return TransientError(text)


def clocks_differ(timestamp: float, text: str) -> bool:
    """Whether Kafka finds a record too new that is not from the future here: then all that is put would be refused."""
    limits = RANGE.search(text)
    past_here = timestamp <= time() + 1.0
    return limits is not None and past_here and timestamp * 1000 > int(limits[1])


def words(error: BaseException) -> str:
    """Give the text of an error; Kafka's own have the name and number of their code in it."""
    if isinstance(error, internals.BrokerError):
        return str(error)
    if not isinstance(error, kafka.BrokerResponseError):
        return f"{type(error).__name__}: {error}"
    about = ", ".join(map(str, error.args)) or error.description
    advice = codes.ADVICE.get(error.errno)
    return f"{codes.name(error.errno)}{': ' * bool(about)}{about}{'; ' * bool(advice)}{advice or ''}"


def receiving(error: BaseException, address: str) -> DeliveryError:
    """Classify a failure while reading or with a dead letter: everything but a refusal can be retried."""
    kind = publishing(error, address)
    if isinstance(error, DeliveryError) or isinstance(kind, DestinationRefused):
        return kind
    return TransientError(f"Kafka at {address}: {words(error)}")


def login(address: str, error: BaseException, user: str) -> DestinationRefused:
    """Build the error for a refused login."""
    if isinstance(error, (kafka.IllegalSaslStateError, kafka.UnsupportedSaslMechanismError)):
        advice = "does that listener speak this SASL mechanism? Check the port, security_protocol and sasl_mechanism"
    else:
        advice = "check sasl_plain_username, sasl_plain_password and sasl_mechanism"
    return DestinationRefused(
        f"Kafka at {address} refused the login of user {user!r} ({type(error).__name__}: {error}): {advice}"
    )


async def connecting(error: BaseException, address: str, client: Any) -> DeliveryError:
    """Classify a failure to connect; aiokafka hides the cause, so the first server is tried once more."""
    reason = await _connect_again(client) or error
    if isinstance(reason, LOGIN):
        return login(address, reason, internals.credentials_of(client)["sasl_plain_username"] or "")
    if isinstance(reason, ssl.SSLCertVerificationError):
        return DestinationRefused(
            f"the certificate of Kafka at {address} is not accepted: {reason.verify_message};"
            " check ssl.ca_file, and that the certificate is for this host name"
        )
    if isinstance(reason, ssl.SSLError) and not isinstance(reason, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return DestinationRefused(
            f"TLS with Kafka at {address} failed ({reason.reason or reason}); does that port speak TLS?"
        )
    hint = ""
    if isinstance(reason, (ConnectionResetError, EOFError, ssl.SSLError, kafka.KafkaConnectionError)):
        secure = "SSL" in internals.credentials_of(client)["security_protocol"]
        hint = (
            "; the profile asks for TLS: does that port speak it?"
            if secure
            else "; does that port expect TLS? Then add ssl:"
        )
    return TransientError(f"cannot connect to Kafka at {address}: {type(reason).__name__} {reason}{hint}")


async def _connect_again(client: Any) -> BaseException | None:
    host, port, _ = client.hosts[0]
    try:
        connection = await aiokafka.conn.create_conn(
            host, port, request_timeout_ms=5000, **internals.credentials_of(client)
        )
    except Exception as error:
        return next((cause for cause in chain(error) if isinstance(cause, ssl.SSLError)), error)
    connection.close()
    return None
