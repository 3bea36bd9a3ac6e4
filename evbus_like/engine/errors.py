"""The errors of the package; evbus_like/errors.py draws their tree."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

if sys.version_info >= (3, 13):
    from asyncio import QueueShutDown as _QueueShutDown
else:

    class _QueueShutDown(Exception):
        """What asyncio has from Python 3.13 on."""


if TYPE_CHECKING:
    from evbus_like.engine.receipt import Receipt


class EvbusError(Exception):
    """The root of all errors of evbus_like."""


class PutError(EvbusError):
    """The event was not taken; nothing of it is queued anywhere."""


class BadEvent(PutError, ValueError):
    """A routing key, header or option that no destination could use, or what does not fit a declared event."""


class SerializeError(PutError, TypeError):
    """The body holds something that the serializer has no form for.

    `path` says where (`body.items[3].price`).
    """

    def __init__(self, message: str, path: str = "body") -> None:
        super().__init__(message)
        self.path = path


class EventTooLarge(PutError, ValueError):
    """The serialized body is larger than a destination takes."""


class QueueFull(PutError, asyncio.QueueFull):
    """The bus, or a destination that matches, is full."""


class OutboxFull(QueueFull):
    """The outbox holds as many bytes as it may; `needed` are those that have no room."""

    def __init__(self, message: str, needed: int = 0) -> None:
        super().__init__(message)
        self.needed = needed


class QueueShutDown(PutError, _QueueShutDown):
    """The bus's queue, or one in memory, was shut down: put raises it at once, get once the queue is empty."""


class StorageError(PutError):
    """The outbox cannot be read or written; what was asked for did not happen."""


class NewerOutbox(StorageError):
    """The file was written by a later release, or belongs to another program; it is left as it is."""


class PutTimeout(PutError, TimeoutError):
    """There was no room, or no acceptance, before the deadline."""


class BusStopped(PutError):
    """The bus was stopped and takes no events."""


class OutboxClosed(BusStopped):
    """The outbox is not open."""


class NotDelivered(PutError):
    """`confirm="delivered"` could not be kept; `receipt` says which destination has the event and which has not."""

    def __init__(self, message: str, receipt: Receipt) -> None:
        super().__init__(message)
        self.receipt = receipt


class DeliveryError(EvbusError):
    """A delivery failed; the kind decides what happens next."""


class TransientError(DeliveryError):
    """Try again soon: connection lost, broker restarting, broker busy."""


class Blocked(TransientError):
    """The broker is there and takes nothing for now: RabbitMQ's memory or disk alarm."""


class Stalled(TransientError):
    """The event waits for a part of the destination, such as a partition without a leader, and this is no attempt.

    Events behind it are sent meanwhile. Those that wait for the same part keep their order: the destination always gets
    the lane's oldest events first.
    """


class ConnectionLost(TransientError):
    """The connection ended while events were under way, and the destination did not say why."""


class PoisonEvent(DeliveryError):
    """This event can never be delivered; the lane dead-letters it and carries on with the next."""


class BatchRejected(DeliveryError):
    """The destination refused what it was sent, or ended the connection because of it; one event is the cause.

    The lane sends the events one by one, gives up the one that is refused again, and delivers the others. `certain` is
    False if the words of the destination may also be about its own state, such as an internal error: an event is then
    given up only after another one was delivered in between, or after many tries.
    """

    def __init__(self, message: str, certain: bool = True) -> None:
        super().__init__(message)
        self.certain = certain


class DestinationRefused(DeliveryError):
    """Nothing can be delivered until somebody acts; the lane holds its events and retries slowly."""


class UnknownOutcome(DeliveryError):
    """The message was sent and no answer came; an event is sent again and may arrive twice."""


class Unroutable(DeliveryError):
    """No queue took a message that must reach one."""


class Dropped(EvbusError):
    """The outcome of an event that a full lane dropped, as its profile's `when_full` says."""


class Expired(EvbusError):
    """The outcome of an event that nobody wants any more: its `expires` had passed before it could be sent."""


class ProfileError(EvbusError, ValueError):
    """A profile, its options or its plugin cannot be used."""


class SettingError(ProfileError):
    """A setting has a value that it cannot have, or does not exist."""


class CredentialsError(EvbusError, ValueError):
    """The credentials file cannot be read."""


class RpcError(EvbusError):
    """A call did not give a result."""


class RemoteError(RpcError):
    """The method raised. `exc_type` names what, `value` is its text, `code` its code where it has one."""

    def __init__(
        self,
        called: str,
        exc_type: str,
        value: str = "",
        code: int | str | None = None,
        exc_path: str = "",
        exc_args: list[Any] | None = None,
    ) -> None:
        super().__init__(f"{called} raised {exc_type}: {value}")
        self.called = called
        self.exc_type = exc_type
        self.value = value
        self.code = code
        self.exc_path = exc_path or exc_type
        self.exc_args = exc_args or []


class BadRequest(RpcError):
    """A request, or an answer, that is not what a call looks like."""


class MethodNotFound(RpcError):
    """The service has no such method."""


class IncorrectSignature(RpcError, TypeError):
    """The method does not take these arguments."""


class UnknownService(RpcError):
    """Nobody serves it: no queue of the broker takes its requests."""


class Refused(RpcError):
    """A middleware refuses the call, or the service will not run a request again that may have run."""


class UnserializableValue(RpcError, TypeError):
    """An argument, or the result, has no form on the wire."""


class RpcTimeout(RpcError, TimeoutError):
    """There was no answer before the deadline; whether the method ran is not known."""


class HandlerError(EvbusError, ValueError):
    """A handler, or how it was marked, cannot be used; the message names each."""


class HandlerShutdown(EvbusError):
    """A handler with on_error SHUTDOWN failed: the worker ends, and the event is handled again."""


class HandlerFailed(EvbusError):
    """A test called a handler, and its event was not handled; raised where no exception of the handler says why."""


class NotSeen(EvbusError, AssertionError, TimeoutError):
    """What a test waits for did not happen in time; the message says what did."""


class CrashError(EvbusError, AssertionError):
    """A handler does harm if it is killed at a point, and its event is delivered again; the message says which."""


class DeclarationError(EvbusError, ValueError):
    """A function of the `event` dyne cannot be an event, or its plugin cannot be loaded."""


class LifecycleError(EvbusError, RuntimeError):
    """A call that the bus's state does not allow."""


class OutboxLocked(LifecycleError):
    """Somebody else has the outbox open; `pid` is the process, or None where the lock file does not say."""

    def __init__(self, message: str, pid: int | None) -> None:
        super().__init__(message)
        self.pid = pid


class OutboxForked(LifecycleError):
    """The outbox belongs to the parent process; a child must open one of its own."""


class NotInOutbox(EvbusError, LookupError):
    """There is no such pending event or dead letter."""
