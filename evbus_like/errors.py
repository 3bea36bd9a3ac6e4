"""Every error that a user of the package, or the author of a plugin, can meet.

EvbusError
├── PutError                 put and put_nowait: the event was not accepted
│   ├── BadEvent             no destination could use the routing key, a header or an option, or a name of the body is
│   │                        wrong for a declared event
│   ├── SerializeError       the serializer has no form for a value in the body
│   ├── EventTooLarge        the serialized body is larger than a destination accepts
│   ├── QueueFull            the bus or a matching destination is full
│   │   └── OutboxFull       the outbox has reached its maximum size
│   ├── QueueShutDown        the queue was shut down by Queue.shutdown
│   ├── StorageError         the outbox cannot be read or written
│   │   └── NewerOutbox      a later release, or another program, wrote the outbox
│   ├── PutTimeout           the event was not accepted before the deadline
│   ├── NotDelivered         confirm="delivered": a destination has not confirmed the event; carries the receipt
│   └── BusStopped           the bus was stopped
│       └── OutboxClosed     the outbox is not open
├── DeliveryError            raised by plugins; the kind decides what happens next
│   ├── TransientError       try again soon: connection lost, broker busy
│   │   ├── Blocked          the broker is connected but accepts nothing for now (RabbitMQ's memory or disk alarm)
│   │   ├── Stalled          the event waits for a part of the destination, such as a partition; others are sent
│   │   └── ConnectionLost   the connection ended while events were under way, without a reason
│   ├── PoisonEvent          this event can never be delivered; dead-letter it and continue with the next
│   ├── BatchRejected        the destination refused what was sent; one event is the cause, and the lane finds it
│   ├── DestinationRefused   nothing can be delivered until somebody acts: wrong password, missing exchange
│   ├── UnknownOutcome       sent, but not confirmed; it may have arrived
│   └── Unroutable           no queue took a message that must reach one
├── Dropped                  an outcome: a full lane dropped the event, as the profile's when_full says
├── Expired                  an outcome: the event's `expires` had passed before it could be sent
├── ProfileError             a profile, its options or its plugin cannot be used
│   └── SettingError         a setting has a value that it cannot have, or does not exist
├── CredentialsError         the credentials file cannot be read
├── RpcError                 a call returned no result
│   ├── RemoteError          the method raised; carries the class, message, code and arguments of its exception
│   ├── BadRequest           the request or the answer is malformed
│   ├── MethodNotFound       the service has no such method
│   ├── IncorrectSignature   the method does not accept these arguments
│   ├── UnknownService       no process serves it
│   ├── Refused              a middleware refused it, or the service does not run it a second time
│   ├── UnserializableValue  an argument or the result cannot be serialized
│   └── RpcTimeout           no answer before the deadline
├── HandlerError             a handler or a service, or its mark, cannot be used
├── HandlerShutdown          a handler with on_error=SHUTDOWN failed: the worker ends
├── HandlerFailed            testing: the event was not handled, and no exception of the handler explains why
├── NotSeen                  testing: what a test waited for did not happen in time
├── CrashError               testing: a handler does harm if it is killed and its event is delivered again
├── DeclarationError         a function of the event dyne cannot be an event
├── LifecycleError           the bus's state does not allow the call: started twice, not started, its loop is closed
│   ├── OutboxLocked         another process, or another bus in this one, has the outbox open
│   └── OutboxForked         the outbox belongs to the parent process
└── NotInOutbox              the outbox holds no such event or dead letter

Several are also a builtin exception: PutTimeout and RpcTimeout are TimeoutErrors, QueueFull is asyncio.QueueFull.
"""

from evbus_like.engine.errors import (
    BadEvent,
    BadRequest,
    BatchRejected,
    Blocked,
    BusStopped,
    ConnectionLost,
    CrashError,
    CredentialsError,
    DeclarationError,
    DeliveryError,
    DestinationRefused,
    Dropped,
    EvbusError,
    EventTooLarge,
    Expired,
    HandlerError,
    HandlerFailed,
    HandlerShutdown,
    IncorrectSignature,
    LifecycleError,
    MethodNotFound,
    NewerOutbox,
    NotDelivered,
    NotInOutbox,
    NotSeen,
    OutboxClosed,
    OutboxForked,
    OutboxFull,
    OutboxLocked,
    PoisonEvent,
    ProfileError,
    PutError,
    PutTimeout,
    QueueFull,
    QueueShutDown,
    Refused,
    RemoteError,
    RpcError,
    RpcTimeout,
    SerializeError,
    SettingError,
    Stalled,
    StorageError,
    TransientError,
    UnknownOutcome,
    UnknownService,
    Unroutable,
    UnserializableValue,
)

__all__ = [
    "BadEvent",
    "BadRequest",
    "BatchRejected",
    "Blocked",
    "BusStopped",
    "ConnectionLost",
    "CrashError",
    "CredentialsError",
    "DeclarationError",
    "DeliveryError",
    "DestinationRefused",
    "Dropped",
    "EvbusError",
    "EventTooLarge",
    "Expired",
    "HandlerError",
    "HandlerFailed",
    "HandlerShutdown",
    "IncorrectSignature",
    "LifecycleError",
    "MethodNotFound",
    "NewerOutbox",
    "NotDelivered",
    "NotInOutbox",
    "NotSeen",
    "OutboxClosed",
    "OutboxForked",
    "OutboxFull",
    "OutboxLocked",
    "PoisonEvent",
    "ProfileError",
    "PutError",
    "PutTimeout",
    "QueueFull",
    "QueueShutDown",
    "Refused",
    "RemoteError",
    "RpcError",
    "RpcTimeout",
    "SerializeError",
    "SettingError",
    "Stalled",
    "StorageError",
    "TransientError",
    "UnknownOutcome",
    "UnknownService",
    "Unroutable",
    "UnserializableValue",
]
