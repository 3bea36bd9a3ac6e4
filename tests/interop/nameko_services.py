"""Services of the real nameko, run by its own interpreter: they dispatch and handle events, serve and call methods."""

import json
import os

from nameko.events import BROADCAST, SINGLETON, EventDispatcher, EventHandler, event_handler
from nameko.exceptions import RemoteError
from nameko.extensions import DependencyProvider
from nameko.rpc import RpcProxy, rpc

SOURCE = os.environ["INTEROP_SOURCE"]
INSTANCE = os.environ["INTEROP_INSTANCE"]


def note(method, body):
    """Append a line to the log that the test reads."""
    with open(os.environ["INTEROP_LOG"], "a") as log:
        log.write(json.dumps([INSTANCE, method, body]) + "\n")


class KeptHandler(EventHandler):
    """A broadcast handler whose events are kept while it does not run."""

    broadcast_identifier = "host-" + INSTANCE


kept_handler = KeptHandler.decorator


class WorkerContext(DependencyProvider):
    """Gives a method the context of its call."""

    def get_dependency(self, worker_ctx):
        """Give the context's data, and the chain of calls."""
        return dict(worker_ctx.data, calls=worker_ctx.call_id_stack)


class Dispatches:
    """Dispatches events on request."""

    name = SOURCE
    dispatch = EventDispatcher()

    @event_handler(SOURCE + "-go", "go")
    def go(self, body):
        """Dispatch one event for each number of a range."""
        for number in range(*body):
            self.dispatch("placed", {"n": number, "text": "\u00e4"})


class Handles:
    """Handles events in every delivery mode of nameko."""

    name = "shipping"

    @event_handler(SOURCE, "placed")
    def ship(self, body):
        """Handle an event as a service pool."""
        note("ship", body)

    @event_handler(SOURCE, "placed", handler_type=SINGLETON)
    def any(self, body):
        """Handle an event as a singleton."""
        note("any", body)

    @event_handler(SOURCE, "placed", handler_type=BROADCAST, reliable_delivery=False)
    def each(self, body):
        """Handle an event as an unreliable broadcast."""
        note("each", body)

    @kept_handler(SOURCE, "placed", handler_type=BROADCAST)
    def all(self, body):
        """Handle an event as a reliable broadcast."""
        note("all", body)

    @event_handler(SOURCE, "placed", reliable_delivery=False)
    def loose(self, body):
        """Handle an event as an unreliable service pool."""
        note("loose", body)


class TooOld(Exception):
    """The error that a method raises."""


class Serves:
    """Serves calls: `name` has a suffix because other queues have the name of the source."""

    name = SOURCE + "-serves"
    data = WorkerContext()

    @rpc
    def add(self, a, b=2):
        """Add."""
        return a + b

    @rpc
    def context(self):
        """Return the context of the call."""
        return self.data

    @rpc
    def fail(self):
        """Raise."""
        raise TooOld("no such thing", 5)

    @rpc
    def unserializable(self):
        """Return a value that cannot be serialized."""
        return object()


class Calls:
    """Calls our service on request and logs the results."""

    name = SOURCE + "-calls"
    world = RpcProxy(SOURCE)
    nobody = RpcProxy(SOURCE + "-nobody")

    @event_handler(SOURCE + "-go", "go")
    def go(self, calls):
        """Make calls: (service, method, args, kwargs)."""
        for service, method, args, kwargs in calls:
            try:
                note("answer", [method, getattr(getattr(self, service), method)(*args, **kwargs)])
            except RemoteError as error:
                note("error", [method, type(error).__name__, error.exc_type, error.value])
            except Exception as error:
                note("error", [method, type(error).__name__, "", str(error)])
        note("done", len(calls))
