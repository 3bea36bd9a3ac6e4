"""What RabbitMQ's refusals mean for those who receive: which kind, and what a person can do about it."""

from __future__ import annotations

import aiormq.exceptions as aiormq

from evbus_like.engine.errors import DeliveryError, DestinationRefused, TransientError


def words(error: BaseException | None) -> str:
    """Give the broker's own words where there are any."""
    if isinstance(error, aiormq.AMQPError) and error.args:
        return " ".join(str(arg) for arg in error.args if arg is not None)
    return (str(error) or type(error).__name__) if error is not None else "the connection ended"


def declaring(error: BaseException, place: str, what: str, advice: str) -> DeliveryError:
    """Classify what went wrong with a declaration or a consumer; `advice` says what to do with `what` as it is."""
    if isinstance(error, DeliveryError):
        return error
    text = f"RabbitMQ at {place} refuses {what}: {words(error).rstrip('.')}"
    if isinstance(error, aiormq.ChannelPreconditionFailed):
        return DestinationRefused(f"{text}. It exists with other flags or arguments. {advice}")
    if isinstance(error, aiormq.ChannelLockedResource):
        return DestinationRefused(
            f"{text}. It is another connection's alone: another instance has the same broadcast_identifier, or RabbitMQ"
            " has not noticed yet that a connection of this one is lost; then this ends by itself"
        )
    if isinstance(error, aiormq.ChannelAccessRefused):
        return DestinationRefused(
            f"{text}. Give the user the right: receiving needs configure, write and read on queues, and read (and"
            " configure, to declare it) on the exchange: rabbitmqctl set_permissions"
        )
    if isinstance(error, aiormq.ChannelNotFoundEntity):
        return DestinationRefused(f"{text}. {advice}")
    return lost(error, place)


def lost(error: BaseException | None, place: str) -> TransientError:
    """Say how a channel or a connection was lost."""
    text = words(error)
    if "delivery acknowledgement" in text:
        return TransientError(
            f"RabbitMQ at {place} took its events back: {text}. A handler takes longer than RabbitMQ's consumer_timeout"
            " (30 minutes by default): have it do less, give it timeout=, or raise the setting in rabbitmq.conf"
        )
    return TransientError(f"the connection to RabbitMQ at {place} was lost: {text}")
