"""What the author of a plugin imports: the types of the contracts, and Protocols to check a plugin file with mypy.

A plugin is a module, and mypy compares a module with a Protocol where it is assigned to one. Write a file for mypy
alone; nothing has to run it:

.. code-block:: python

    # check_types.py; run `mypy check_types.py`
    from evbus_like import plugin
    from my_plugins.ingress import pigeon
    from my_plugins.serialize import csv_serialize

    destination: plugin.BatchIngressPlugin = pigeon
    opens: plugin.Opens = pigeon  # one line for each optional function that the file has
    closes: plugin.Closes = pigeon
    serializer: plugin.SerializePlugin = csv_serialize

The folders need no `__init__.py`. Annotate the plugin's functions, for mypy looks into annotated ones only, with the
types of this module: `async def publish_batch(hub: Any, ctx: plugin.Context, events: Sequence[plugin.Event]) -> None`.

In a plugin file write `from evbus_like import errors, plugin`, never `from evbus_like.plugin import ...`: what a plugin
file imports by name becomes a function on the hub.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from evbus_like.engine.dead_letter_headers import unhandled as dead_letter_headers
from evbus_like.engine.event import SERVICE_HEADER, Event, events_of, service_of
from evbus_like.engine.message import Message
from evbus_like.engine.receiving.look import FoundLetter, Look
from evbus_like.engine.receiving.look import found as found_letter
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.source import Inspection
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.engine.sending.destination import LaneOptions, Outcomes
from evbus_like.engine.values import MAX_INT, MIN_INT, convert, finite, plain, simple
from evbus_like.tls import context as tls_context

__all__ = [
    "MAX_INT",
    "MIN_INT",
    "SERVICE_HEADER",
    "BatchIngressPlugin",
    "Checks",
    "Closes",
    "CompilingMatchPlugin",
    "Context",
    "EgressPlugin",
    "Event",
    "FoundLetter",
    "HasLimits",
    "HasOptions",
    "IngressPlugin",
    "Inspection",
    "Inspects",
    "LaneOptions",
    "Look",
    "LooksAtDeadLetters",
    "MatchPlugin",
    "Message",
    "Opens",
    "Options",
    "Outcomes",
    "Pings",
    "PublishesNow",
    "ReceivedEvent",
    "Retries",
    "Sends",
    "SerializePlugin",
    "Subscription",
    "Validates",
    "convert",
    "dead_letter_headers",
    "events_of",
    "finite",
    "found_letter",
    "plain",
    "service_of",
    "simple",
    "tls_context",
]

Options = Mapping[str, tuple[Any, str]]  # {name: (type or types, help)}
Returns = Awaitable[None] | None  # of functions that may be `async def` or plain


class Context(Protocol):
    """`ctx`: one profile of one plugin. Set any other attribute, such as a connection, to keep it between calls."""

    acct: Any  # the profile's data: a dict whose keys are attributes, too
    profile: str  # the profile's name

    def blocked(self, reason: str | None, /) -> None:
        """Ingress plugins: report that the destination accepts nothing for now, and, with None, that it does again."""

    def ask(self, refuse: Callable[[Event], str | None], /, above: int = -1) -> None:
        """Ingress plugins: let puts ask a function why the destination does not take an event, None if it does."""

    def __getattr__(self, name: str) -> Any: ...
    def __setattr__(self, name: str, value: Any, /) -> None: ...
    def __getitem__(self, name: str) -> Any: ...
    def __setitem__(self, name: str, value: Any) -> None: ...
    def __contains__(self, name: object) -> bool: ...
    def get(self, name: str, default: Any = None, /) -> Any:
        """Return what is kept under a name."""

    def pop(self, name: str, default: Any = None, /) -> Any:
        """Remove what is kept under a name, and return it."""


class HasProviders(Protocol):
    """A plugin that profiles use."""

    @property
    def ACCT(self) -> Sequence[str]:
        """The providers of a credentials file that the plugin handles."""


# ---- destinations: evbus_like/ingress/contracts/init.py


class IngressPlugin(HasProviders, Protocol):
    """A plugin that delivers one event at a time."""

    def publish(self, hub: Any, /, ctx: Context, routing_key: str, body: bytes) -> Returns:
        """Deliver one event."""


class BatchIngressPlugin(HasProviders, Protocol):
    """A plugin that delivers many events at a time."""

    def publish_batch(
        self, hub: Any, ctx: Context, events: Sequence[Event], /
    ) -> Awaitable[Outcomes | None] | Outcomes | None:
        """Deliver events in order."""


class PublishesNow(Protocol):
    """A plugin that delivers some events without waiting, beside `publish_batch`."""

    def publish_now(self, hub: Any, ctx: Context, events: Sequence[Event], /) -> int:
        """Deliver the first events and return their number."""


class Pings(Protocol):
    """An ingress plugin with a `ping`."""

    def ping(self, hub: Any, ctx: Context, /) -> Awaitable[Sequence[str] | None] | Sequence[str] | None:
        """Return if the destination answers: None, or advice for the operator."""


class HasLimits(Protocol):
    """An ingress plugin with a `limits`."""

    def limits(self, hub: Any, ctx: Context, /) -> Mapping[str, Any]:
        """Return fields of LaneOptions that follow from the profile."""


# ---- sources: evbus_like/egress/contracts/init.py


class EgressPlugin(HasProviders, Protocol):
    """A plugin that receives events. A feed is any object."""

    def subscribe(self, hub: Any, ctx: Context, subscription: Subscription, /) -> Awaitable[Any]:
        """Start to receive, and return the feed."""

    def receive(self, hub: Any, ctx: Context, feed: Any, /) -> Awaitable[Sequence[ReceivedEvent]]:
        """Wait for the next events."""

    def ack(self, hub: Any, ctx: Context, feed: Any, events: Sequence[ReceivedEvent], /) -> Awaitable[None]:
        """Acknowledge events."""

    def requeue(self, hub: Any, ctx: Context, feed: Any, event: ReceivedEvent, /) -> Awaitable[None]:
        """Return an event to its queue."""

    def dead(self, hub: Any, ctx: Context, feed: Any, event: ReceivedEvent, reason: str, /) -> Awaitable[None]:
        """Dead-letter an event."""

    def unsubscribe(self, hub: Any, ctx: Context, feed: Any, /) -> Awaitable[None]:
        """End a feed."""


class Retries(Protocol):
    """An egress plugin whose source can deliver an event again after a delay."""

    def retry(self, hub: Any, ctx: Context, feed: Any, event: ReceivedEvent, delay: float, /) -> Awaitable[None]:
        """Deliver an event again after `delay` seconds."""


class Sends(Protocol):
    """An egress plugin that carries calls."""

    def send(self, hub: Any, ctx: Context, feed: Any, messages: Sequence[Message], /) -> Awaitable[None]:
        """Send requests or answers."""


class Checks(Protocol):
    """An egress plugin with a `check`."""

    def check(self, hub: Any, ctx: Context, subscription: Subscription, /) -> None:
        """Check a subscription; raises HandlerError."""


class Inspects(Protocol):
    """An egress plugin with an `inspect`."""

    def inspect(self, hub: Any, ctx: Context, subscription: Subscription, /) -> Awaitable[Inspection]:
        """Look at what is there for a subscription, and change nothing."""


class LooksAtDeadLetters(Protocol):
    """An egress plugin whose dead letters `evbus dead` can list and replay."""

    def dead_letters(self, hub: Any, ctx: Context, subscription: Subscription, /) -> Awaitable[Look | None]:
        """Begin to look at the dead letters of a subscription; None if it never had any."""


# ---- optional parts of both


class HasOptions(Protocol):
    """A plugin that declares the options of its profiles."""

    @property
    def OPTIONS(self) -> Options:
        """The options: {name: (type or types, help)}."""


class Opens(Protocol):
    """A plugin that connects."""

    def open(self, hub: Any, ctx: Context, /) -> Returns:
        """Connect."""


class Closes(Protocol):
    """A plugin that disconnects."""

    def close(self, hub: Any, ctx: Context, /) -> Returns:
        """Disconnect."""


class Validates(Protocol):
    """A plugin that checks a profile."""

    def validate(self, hub: Any, ctx: Context, /) -> None:
        """Check the profile without connecting; raises ProfileError."""


# ---- serializers and matchers


class SerializePlugin(Protocol):
    """A format of bodies."""

    @property
    def CONTENT_TYPE(self) -> str:
        """The media type that events carry."""

    def dump(self, hub: Any, data: Any, /) -> bytes:
        """Return a body as bytes."""

    def load(self, hub: Any, data: bytes, /) -> Any:
        """Return the body that was serialized."""


class MatchPlugin(Protocol):
    """A way to match profile names."""

    def find(self, hub: Any, name: str, pattern: str, /) -> bool:
        """Return whether a pattern matches a name."""


class CompilingMatchPlugin(MatchPlugin, Protocol):
    """One that prepares a pattern once; pop gives `compile_` this name by `__func_alias__`."""

    def compile_(self, hub: Any, pattern: str, /) -> Callable[[str], bool]:
        """Return the function that tests a name."""
