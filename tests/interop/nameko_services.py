"""Services of the real nameko, run by its own interpreter: one that dispatches, one that handles."""

import json
import os

from nameko.events import BROADCAST, SINGLETON, EventDispatcher, EventHandler, event_handler

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
