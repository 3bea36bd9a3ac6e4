"""Services of the real nameko, run by its own interpreter: they dispatch, handle, serve and call."""

import json
import os

from nameko.events import BROADCAST, SINGLETON, EventDispatcher, EventHandler, event_handler
from nameko.exceptions import RemoteError
from nameko.extensions import DependencyProvider
from nameko.rpc import RpcProxy, rpc

SOURCE = os.environ["INTEROP_SOURCE"]
INSTANCE = os.environ["INTEROP_INSTANCE"]


def note(method, body):
    """Write a line that the test reads."""
    with open(os.environ["INTEROP_LOG"], "a") as log:
        log.write(json.dumps([INSTANCE, method, body]) + "\n")


class KeptHandler(EventHandler):
    """A broadcast that is kept while nobody listens."""

    broadcast_identifier = "host-" + INSTANCE


kept_handler = KeptHandler.decorator


class WorkerContext(DependencyProvider):
    """Gives a method the context of its call."""

    def get_dependency(self, worker_ctx):
        """Give the context's data, and the chain of calls."""
        return dict(worker_ctx.data, calls=worker_ctx.call_id_stack)


class Dispatches:
    """Dispatches as many events as it is told to."""

    name = SOURCE
    dispatch = EventDispatcher()

    @event_handler(SOURCE + "-go", "go")
    def go(self, body):
        """Dispatch events from here on, one for each number."""
        for number in range(*body):
            self.dispatch("placed", {"n": number, "text": "\u00e4"})


class Handles:
    """Handles events in all ways that nameko has."""

    name = "shipping"

    @event_handler(SOURCE, "placed")
    def ship(self, body):
        """Handle it as one of a pool."""
        note("ship", body)

    @event_handler(SOURCE, "placed", handler_type=SINGLETON)
    def any(self, body):
        """Handle it as the only one."""
        note("any", body)

    @event_handler(SOURCE, "placed", handler_type=BROADCAST, reliable_delivery=False)
    def each(self, body):
        """Handle it as everybody does."""
        note("each", body)

    @kept_handler(SOURCE, "placed", handler_type=BROADCAST)
    def all(self, body):
        """Handle it as everybody does, some day."""
        note("all", body)

    @event_handler(SOURCE, "placed", reliable_delivery=False)
    def loose(self, body):
        """Handle it as one of a pool, if there is one."""
        note("loose", body)


class TooOld(Exception):
    """What a method raises."""


class Serves:
    """Serves calls: `name` is the source with an end, for others have queues of that name."""

    name = SOURCE + "-serves"
    data = WorkerContext()

    @rpc
    def add(self, a, b=2):
        """Add."""
        return a + b

    @rpc
    def context(self):
        """Give the context that came along."""
        return self.data

    @rpc
    def fail(self):
        """Raise."""
        raise TooOld("no such thing", 5)

    @rpc
    def unserializable(self):
        """Give what cannot be sent."""
        return object()


class Calls:
    """Calls our service when it is told to, and notes what it gets."""

    name = SOURCE + "-calls"
    world = RpcProxy(SOURCE)
    nobody = RpcProxy(SOURCE + "-nobody")

    @event_handler(SOURCE + "-go", "go")
    def go(self, calls):
        """Make calls: (whom, method, args, kwargs)."""
        for whom, method, args, kwargs in calls:
            try:
                note("answer", [method, getattr(getattr(self, whom), method)(*args, **kwargs)])
            except RemoteError as error:
                note("error", [method, type(error).__name__, error.exc_type, error.value])
            except Exception as error:
                note("error", [method, type(error).__name__, "", str(error)])
        note("done", len(calls))
