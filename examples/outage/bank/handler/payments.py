"""Handlers that know what may go wrong: the bank is down, a payment is wrong, a row cannot be stored."""

import evbus_like.handlers as evbus


def is_real(headers, body):
    """Whether a payment is none of the tests of the shop."""
    return "test" not in headers


@evbus.handler(
    "shop",
    "paid",
    where=is_real,
    rules=[evbus.on(KeyError, evbus.REJECT)],
    breaker=evbus.Breaker(at_least=2, pause=0.3, only=ConnectionError),
    later=[60, 600, 3600],
    rate="100/s",
)
async def settle(hub, event):
    """Settle a payment at the bank."""
    amount = event.body["amount"]
    if hub.BANK_IS_DOWN:
        raise ConnectionError("the bank does not answer")
    hub.SETTLED.append(amount)


@evbus.handler("shop", "viewed", batch=100, linger=0.2, on_error=evbus.REJECT)
async def count(hub, events):
    """Store many rows at once; the rows that cannot be stored are found."""
    if any(not isinstance(event.body["page"], str) for event in events):
        raise TypeError("a page has a name")
    hub.ROWS.extend(event.body["page"] for event in events)
