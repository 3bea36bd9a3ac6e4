"""Answers a request itself, where it knows the answer; and changes answers on their way."""

import evbus_like.handlers as evbus

KNOWN = {"bob": 500}


def incoming(hub, message):
    """Answer without calling the method."""
    if message.kind == "request":
        customer, *_ = message.body["args"]
        if customer in KNOWN:
            evbus.answer(KNOWN[customer])


async def outgoing(hub, message):
    """Give the amounts in cents; the body of an answer has its result and its error."""
    if message.kind == "answer" and message.body["error"] is None and message.body["result"] not in KNOWN.values():
        message.body = {**message.body, "result": message.body["result"] * 100}
