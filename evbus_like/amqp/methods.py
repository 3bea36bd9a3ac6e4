"""Methods whose names RabbitMQ takes and pamqp would not: of more than 127 bytes, or with `*` in them, or an umlaut.

pamqp checks the letter of AMQP 0-9-1; RabbitMQ lets queues and exchanges be called anything of up to 255 bytes, and a
queue for the events `user.*` has a `*` in its name.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiormq.tools import awaitable
from pamqp import commands


class _AnyName:
    def validate(self) -> None:
        """Let RabbitMQ decide."""


class _ExchangeDeclare(_AnyName, commands.Exchange.Declare):
    pass


class _QueueDeclare(_AnyName, commands.Queue.Declare):
    pass


class _QueueBind(_AnyName, commands.Queue.Bind):
    pass


class _Consume(_AnyName, commands.Basic.Consume):
    pass


def declare_exchange(
    channel: Any,
    name: str,
    kind: str = "topic",
    passive: bool = False,
    durable: bool = True,
    auto_delete: bool = False,
    internal: bool = False,
    arguments: Mapping[str, Any] | None = None,
) -> Awaitable[Any]:
    """Declare an exchange; `passive` only looks for it."""
    method = _ExchangeDeclare(
        exchange=name,
        exchange_type=kind,
        passive=passive,
        durable=durable,
        auto_delete=auto_delete,
        internal=internal,
        arguments=dict(arguments or {}),
    )
    return channel.rpc(method)  # type: ignore[no-any-return]


def declare_queue(
    channel: Any,
    name: str,
    passive: bool = False,
    exclusive: bool = False,
    auto_delete: bool = False,
    arguments: Mapping[str, Any] | None = None,
) -> Awaitable[Any]:
    """Declare a durable queue; `passive` only looks for it."""
    method = _QueueDeclare(
        queue=name,
        passive=passive,
        durable=True,
        exclusive=exclusive,
        auto_delete=auto_delete,
        arguments=dict(arguments or {}),
    )
    return channel.rpc(method)  # type: ignore[no-any-return]


def bind(channel: Any, queue: str, exchange: str, routing_key: str) -> Awaitable[Any]:
    """Bind a queue to an exchange."""
    return channel.rpc(_QueueBind(queue=queue, exchange=exchange, routing_key=routing_key))  # type: ignore[no-any-return]


def consume(channel: Any, queue: str, callback: Callable[[Any], None]) -> Awaitable[Any]:
    """Have RabbitMQ send a queue's messages; `callback` gets those that no tap takes."""
    tag = uuid.uuid4().hex
    channel.consumers[tag] = awaitable(callback)
    return channel.rpc(_Consume(queue=queue, consumer_tag=tag))  # type: ignore[no-any-return]
