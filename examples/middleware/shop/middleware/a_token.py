"""Requests carry a token out, and are refused without it. Plugins are passed in the order of their names."""

import evbus_like.handlers as evbus


def outgoing(hub, message):
    """Put the token into every request."""
    if message.kind == "request" and hub.TOKEN:
        message.headers["shop-token"] = hub.TOKEN


def incoming(hub, message):
    """Refuse who has no token; the caller gets the reason."""
    if message.kind == "request" and message.headers.get("shop-token") != "secret":
        evbus.refuse("show the token")
