"""Middleware: functions that may change, answer or refuse every message that is received or sent."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evbus_like.engine.errors import Refused
from evbus_like.engine.foreign import ends, text_of

REQUEST, ANSWER, EVENT = "request", "answer", "event"
MISSING: Any = object()


class Answer(Exception):
    """Raised by `answer` inside a middleware."""

    def __init__(self, value: Any) -> None:
        super().__init__("a middleware answers")
        self.value = value


class MiddlewareMessage:
    """One message that passes the middleware, which may assign to `body` and change `headers`.

    `kind` is "request", "answer" or "event"; `service` and `name` are the service and its method or event type. The
    body of a request is {"args": [...], "kwargs": {...}}, of an answer {"result": ..., "error": ...}, of an event the
    event's own. `event` is the received event, None for a message that no received event caused. `answer` is for the
    engine.
    """

    __slots__ = ("answer", "body", "event", "headers", "kind", "name", "service")

    def __init__(
        self, kind: str, service: str, name: str, body: Any, headers: Mapping[str, Any] | None, event: Any = None
    ) -> None:
        self.kind = kind
        self.service = service
        self.name = name
        self.body = body
        self.headers: dict[str, Any] = dict(headers or {})
        self.event = event
        self.answer = MISSING

    @property
    def is_answered(self) -> bool:
        """Whether a middleware answered it, so that it is not passed on."""
        return self.answer is not MISSING

    def __repr__(self) -> str:  # the body may hold secrets
        return f"<Message {self.kind} {self.service}.{self.name}>"


@dataclass(frozen=True)
class Hook:
    """One function of a middleware plugin; `ref` is its place on the hub."""

    ref: str
    call: Callable[[MiddlewareMessage], Any]


class Middleware:
    """The middleware of an application, in the order of the plugins' names.

    A function that raises refuses the message: the sender gets the error, and the worker goes on.
    """

    def __init__(self, incoming: Sequence[Hook], outgoing: Sequence[Hook]) -> None:
        self._incoming = tuple(incoming)
        self._outgoing = tuple(outgoing)

    @property
    def looks_at_what_goes_out(self) -> bool:
        """Whether a middleware has a function for outgoing messages."""
        return bool(self._outgoing)

    async def incoming(self, message: MiddlewareMessage) -> None:
        """Pass a received message; raises Refused."""
        await _pass(self._incoming, message)

    async def outgoing(self, message: MiddlewareMessage) -> None:
        """Pass a message before it is sent; raises Refused."""
        await _pass(self._outgoing, message)

    def outgoing_now(self, message: MiddlewareMessage) -> None:
        """Pass a message without waiting; raises Refused, also if the middleware is async."""
        for hook in self._outgoing:
            try:
                done = hook.call(message)
            except Answer as answer:
                message.answer = answer.value
                return
            except (Refused, asyncio.CancelledError, KeyboardInterrupt):
                raise
            except BaseException as error:
                raise _refusal(hook, message, error) from error
            if inspect.isawaitable(done):
                if inspect.iscoroutine(done):
                    done.close()
                raise Refused(f"{hook.ref} is async and cannot pass an event that is put without waiting: await put")


async def _pass(hooks: Sequence[Hook], message: MiddlewareMessage) -> None:
    task = asyncio.current_task()
    for hook in hooks:
        try:
            done = hook.call(message)
            if inspect.isawaitable(done):
                await done
        except Answer as answer:
            message.answer = answer.value
            return
        except (Refused, asyncio.CancelledError):
            raise
        except BaseException as error:
            if ends(error, task):
                raise
            raise _refusal(hook, message, error) from error


def _refusal(hook: Hook, message: MiddlewareMessage, error: BaseException) -> Refused:
    return Refused(f"{hook.ref} failed with {message!r}: {text_of(error)}")
