"""What RabbitMQ's and aio-pika's errors mean: which of the four kinds, and what a person can do about it."""

from __future__ import annotations

import asyncio
import ssl

import aiormq.exceptions as aiormq
from pamqp import commands

from evbus_like.engine.errors import DeliveryError, DestinationRefused, PoisonEvent, TransientError
from evbus_like.engine.failure import chain


def connecting(error: BaseException, place: str, user: str) -> DeliveryError:
    """Classify what went wrong while connecting."""
    reason = text(error)
    if isinstance(error, (aiormq.ProbableAuthenticationError, aiormq.AuthenticationError)):
        return DestinationRefused(
            f"RabbitMQ at {place} refused the login of user {user!r}: check login and password of the profile,"
            " and the user's rights on the virtual host"
        )
    closed = _close_frame(error)
    if closed is not None:
        reason = str(closed.reply_text)
    if (closed is not None or isinstance(error, aiormq.ConnectionNotAllowed)) and "is down" not in reason:
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


def publishing(error: BaseException, place: str, exchange: str) -> DeliveryError:
    """Classify what went wrong with a channel that was open."""
    reason = text(error)
    if isinstance(error, DeliveryError):
        return error
    if isinstance(error, aiormq.PublishError):
        return unroutable(str(error.frame.exchange), str(error.frame.routing_key))
    if isinstance(error, aiormq.DeliveryError):
        return TransientError(f"RabbitMQ at {place} did not take the event (basic.nack): its queue may be full")
    if isinstance(error, aiormq.ChannelNotFoundEntity):
        return DestinationRefused(
            f"RabbitMQ at {place}: {reason}. Create the exchange, or have the profile do it: declare: {{type: topic}}"
        )
    if isinstance(error, aiormq.ChannelAccessRefused):
        return DestinationRefused(f"RabbitMQ at {place}: {reason}. Grant the user the right, or change the profile")
    if isinstance(error, aiormq.ChannelPreconditionFailed):
        if "message size" in reason:
            return PoisonEvent(f"RabbitMQ at {place}: {reason}")
        return DestinationRefused(f"RabbitMQ at {place}: {reason}. Make the profile's declare fit what exists")
    return TransientError(f"the connection to RabbitMQ at {place} was lost: {reason}")


def unroutable(exchange: str, routing_key: str) -> PoisonEvent:
    """The error for an event that no queue wanted."""
    where = f"exchange {exchange!r}" if exchange else "the default exchange"
    return PoisonEvent(
        f"no queue is bound to {where} for routing key {routing_key!r}, so RabbitMQ returned the event;"
        " declare and bind the queue first, or set mandatory: false to let such events vanish"
    )


def blocked(reason: str, place: str) -> str:
    """Say what connection.blocked means, and what to do; the reason is RabbitMQ's own ("low on memory")."""
    return (
        f"RabbitMQ at {place} blocks publishers ({reason}): its memory or disk alarm is on, see"
        " `rabbitmqctl status`. Free memory or disk there, or have its queues read; deliveries then go on by themselves"
    )


def _close_frame(error: BaseException) -> commands.Connection.Close | None:
    """Find the broker's reason for closing a connection that it would not open (a virtual host that is not there).

    aiormq 7 raises an InvalidFrameError that only says that the answer was no OpenOk; the answer itself is in a local
    variable of its traceback.
    """
    traceback = error.__traceback__ if isinstance(error, aiormq.InvalidFrameError) else None
    while traceback is not None:
        frame = traceback.tb_frame.f_locals.get("frame")
        if isinstance(frame, commands.Connection.Close):
            return frame
        traceback = traceback.tb_next
    return None


def _tls(error: BaseException) -> ssl.SSLError | None:
    """Find the TLS error that led to this one, if any."""
    return next((cause for cause in chain(error) if isinstance(cause, ssl.SSLError)), None)


def text(error: BaseException) -> str:
    """Give the broker's own words where there are any."""
    if isinstance(error, aiormq.AMQPError) and error.args:
        return " ".join(str(arg) for arg in error.args if arg is not None)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
