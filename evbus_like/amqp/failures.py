"""Turns errors of RabbitMQ and its client library into delivery errors that say what to do about them."""

from __future__ import annotations

import asyncio
import ssl
from typing import NamedTuple

import aiormq.exceptions as aiormq
from pamqp import commands

from evbus_like.engine.errors import (
    BatchRejected,
    ConnectionLost,
    DeliveryError,
    DestinationRefused,
    PoisonEvent,
    TransientError,
)
from evbus_like.engine.failure import chain


def connecting(error: BaseException, place: str, user: str, close_reason: str = "") -> DeliveryError:
    """Classify an error of connecting; `close_reason` is why RabbitMQ closed the connection, if it said so.

    aiormq 7 raises an InvalidFrameError that leaves the reason out if RabbitMQ refuses to open the connection, because
    the virtual host does not exist, for example.
    """
    if isinstance(error, DeliveryError):
        return error
    closed = isinstance(error, aiormq.InvalidFrameError) and bool(close_reason)
    reason = close_reason if closed else text(error)
    if isinstance(error, (aiormq.ProbableAuthenticationError, aiormq.AuthenticationError)):
        return DestinationRefused(
            f"RabbitMQ at {place} refused the login of user {user!r}: check login and password of the profile,"
            " and the user's rights on the virtual host"
        )
    if (closed or isinstance(error, aiormq.ConnectionNotAllowed)) and "is down" not in reason:
        return DestinationRefused(f"RabbitMQ at {place} refused user {user!r}: {reason}")
    trouble = _tls(error)
    if isinstance(trouble, ssl.SSLCertVerificationError):
        return DestinationRefused(
            f"the certificate of RabbitMQ at {place} is not accepted: {trouble.verify_message};"
            " check ssl.ca_file, and that the host name is the certificate's"
        )
    if isinstance(trouble, ssl.SSLError) and not isinstance(trouble, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return DestinationRefused(
            f"TLS with RabbitMQ at {place} failed ({trouble.reason or trouble}); does that port speak TLS?"
            " RabbitMQ's TLS port is usually 5671, the plain one 5672"
        )
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return TransientError(
            f"RabbitMQ at {place} did not answer in time; is that its AMQP port, and plain or TLS as the profile says?"
        )
    hint = (
        "; does that port expect TLS? Then the URL begins with amqps://"
        if "reset" in reason or "closed" in reason
        else ""
    )
    return TransientError(f"cannot connect to RabbitMQ at {place}: {reason}{hint}")


NACK = (
    "RabbitMQ did not take it (basic.nack): a queue for it is full, or has no leader because most of its nodes are"
    " away; see `rabbitmq-queues quorum_status QUEUE`"
)
INTERNAL_ERROR = 541


class NoLeader(TransientError):
    """RabbitMQ cannot read a queue, and closed the connection or said nothing when it was asked to."""


def no_leader(queue: str, place: str, said: str) -> NoLeader:
    """Return the error for a queue that RabbitMQ cannot read."""
    return NoLeader(
        f"RabbitMQ at {place} cannot give events of the queue {queue!r} ({said}): a quorum queue has no leader while"
        f" most of its nodes are away, see `rabbitmq-queues quorum_status {queue}`. It is tried again"
    )


class Closed(NamedTuple):
    """The code and the text by which RabbitMQ closed a channel or a connection."""

    code: int
    text: str


ORDERLY = (200, 320)  # the broker shuts down, or an operator closed the connection
# The frames themselves are wrong: too large, malformed or out of order (the specification's 1.2; 311 is older).
WRONG_FRAMES = (311, 406, 501, 502, 503, 505, 540)


def rejected(closed: Closed, place: str) -> DeliveryError:
    """Return the error for events that were in flight when RabbitMQ closed a channel or the connection with words."""
    said = closed.text or f"code {closed.code}"
    if closed.code in ORDERLY:
        return TransientError(f"RabbitMQ at {place} closed the connection: {said}")
    return BatchRejected(f"RabbitMQ at {place} rejected what was sent: {said}", closed.code in WRONG_FRAMES)


def publishing(error: BaseException | None, place: str, closed: Closed | None = None) -> DeliveryError:
    """Classify what happened to a message that was published; `closed` is why RabbitMQ closed the connection."""
    if isinstance(error, DeliveryError):
        return error
    reason = text(error)
    if isinstance(error, aiormq.PublishError) and isinstance(error.frame, commands.Basic.Return):
        return unroutable(str(error.frame.exchange), str(error.frame.routing_key))
    if isinstance(error, aiormq.DeliveryError):
        return TransientError(NACK)
    if closed is not None:
        return rejected(closed, place)
    if isinstance(error, aiormq.ChannelAccessRefused) and "access to topic" in reason:  # about the routing key
        return rejected(Closed(403, f"{reason}. Grant the user the right, or use another routing key"), place)
    if isinstance(error, (aiormq.ChannelNotFoundEntity, aiormq.ChannelAccessRefused)):
        return opening(error, place)
    if isinstance(error, aiormq.ChannelPreconditionFailed):
        return rejected(Closed(406, reason), place)
    if type(error) is aiormq.ChannelClosed and isinstance(error.args[0], int) and error.args[0]:
        return rejected(Closed(error.args[0], reason), place)
    return ConnectionLost(f"the connection to RabbitMQ at {place} was lost: {reason}")


def opening(error: BaseException | None, place: str) -> DeliveryError:
    """Classify an error of opening a channel that publishes, and of looking its exchange up."""
    if isinstance(error, DeliveryError):
        return error
    reason = text(error)
    if isinstance(error, aiormq.ChannelNotFoundEntity):
        return DestinationRefused(
            f"RabbitMQ at {place}: {reason}. Create the exchange, or have the profile do it: declare: {{type: topic}}"
        )
    if isinstance(error, aiormq.ChannelAccessRefused):
        return DestinationRefused(f"RabbitMQ at {place}: {reason}. Grant the user the right, or change the profile")
    if isinstance(error, aiormq.ChannelPreconditionFailed):
        return DestinationRefused(f"RabbitMQ at {place}: {reason}. Make the profile's declare fit what exists")
    return TransientError(f"the connection to RabbitMQ at {place} was lost: {reason}")


def not_encoded(error: Exception) -> PoisonEvent:
    """Return the error for an event that has no form as frames; nothing of it was sent."""
    if isinstance(error, PoisonEvent):
        return error
    return PoisonEvent(f"the event cannot be encoded for RabbitMQ: {type(error).__name__}: {error}")


def unroutable(exchange: str, routing_key: str) -> PoisonEvent:
    """Return the error for an event that no queue is bound for."""
    where = f"exchange {exchange!r}" if exchange else "the default exchange"
    return PoisonEvent(
        f"no queue is bound to {where} for routing key {routing_key!r}, so RabbitMQ returned the event;"
        " declare and bind the queue first, or set mandatory: false to let such events vanish"
    )


def blocked(reason: str, place: str) -> str:
    """Explain connection.blocked; the reason is RabbitMQ's own ("low on memory")."""
    return (
        f"RabbitMQ at {place} blocks publishers ({reason}): its memory or disk alarm is on, see"
        " `rabbitmqctl status`. Free memory or disk there, or have its queues read; deliveries then go on by themselves"
    )


def _tls(error: BaseException) -> ssl.SSLError | None:
    """Return the TLS error that caused this one, if any."""
    return next((cause for cause in chain(error) if isinstance(cause, ssl.SSLError)), None)


def text(error: BaseException | None) -> str:
    """Return the broker's own words if there are any."""
    if error is None:
        return "the connection ended"
    if isinstance(error, aiormq.AMQPError) and error.args:
        return " ".join(str(arg) for arg in error.args if arg is not None)
    if isinstance(error, OSError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def declaring(error: BaseException, place: str, what: str, advice: str) -> DeliveryError:
    """Classify an error of a declaration or a consumer; `advice` says what to do if `what` differs or is missing."""
    if isinstance(error, DeliveryError):
        return error
    said = f"RabbitMQ at {place} refuses {what}: {text(error).rstrip('.')}"
    if isinstance(error, aiormq.ChannelPreconditionFailed):
        return DestinationRefused(f"{said}. It exists with other flags or arguments. {advice}")
    if isinstance(error, aiormq.ChannelLockedResource):
        return DestinationRefused(
            f"{said}. Another connection owns it: another instance has the same broadcast_identifier, or RabbitMQ has"
            " not yet noticed that a connection of this one is lost; in that case this ends by itself"
        )
    if isinstance(error, aiormq.ChannelAccessRefused):
        return DestinationRefused(
            f"{said}. Give the user the right: receiving needs configure, write and read on queues, and read (and"
            " configure, to declare it) on the exchange: rabbitmqctl set_permissions"
        )
    if isinstance(error, aiormq.ChannelNotFoundEntity) and "is down or inaccessible" in said:
        return TransientError(f"{said}. Its node is away; a quorum queue is on several nodes: quorum: true")
    if isinstance(error, aiormq.ChannelNotFoundEntity):
        return DestinationRefused(f"{said}. {advice}")
    return lost(error, place)


def lost(error: BaseException | None, place: str, closed: Closed | None = None) -> TransientError:
    """Return the error for a channel or a connection that was lost; `closed` is why RabbitMQ closed the connection."""
    if closed is not None and closed.code in ORDERLY:
        return TransientError(f"RabbitMQ at {place} closed the connection: {closed.text}")
    reason = text(error)
    if "delivery acknowledgement" in reason:
        return TransientError(
            f"RabbitMQ at {place} took its events back: {reason}. A handler takes longer than RabbitMQ's"
            " consumer_timeout (30 minutes by default): let it do less, give it timeout=, or raise the setting in"
            " rabbitmq.conf"
        )
    return TransientError(f"the connection to RabbitMQ at {place} was lost: {reason}")
