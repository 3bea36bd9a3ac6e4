"""Outgoing: pages for the lanes, from which events that rotted on the disk are taken off."""

from __future__ import annotations

import logging

from evbus_like.engine.outbox.dead import Why, bury
from evbus_like.engine.outbox.page import Page, read_page
from evbus_like.engine.outbox.store import Store

log = logging.getLogger("evbus_like.outbox")

ROTTEN = Why("what the disk gives back is not what was written (wrong checksum)", "damaged", 0, None)


def page(store: Store, destination: str, after: int, limit_events: int, limit_bytes: int) -> Page:
    """Give the oldest events after a seq; those that rotted on the disk become dead letters."""
    while True:
        routes = store.routes.of(destination)
        found, rotten = read_page(store.connection, routes, destination, after, limit_events, limit_bytes)
        for seq in rotten:
            log.error(
                "event %d for %s rotted on the disk under %s: it is a dead letter now", seq, destination, store.path
            )
            bury(store, destination, seq, ROTTEN)
        if found or not rotten:
            return found
