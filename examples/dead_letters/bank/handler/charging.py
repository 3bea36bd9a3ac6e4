"""The service charging: it tries twice, and sets aside what it cannot do."""

import evbus_like.handlers as evbus


class CardRefused(Exception):
    """The bank says no."""


@evbus.handler("shop", "sold", attempts=2, backoff=0.1, expected_exceptions=CardRefused, sensitive=["card"])
async def charge(hub, event):
    """Charge a card; the log never shows its number."""
    if event.body["amount"] > 100:
        raise CardRefused(f"{event.body['amount']} is too much")
    print("charged", event.body["amount"], flush=True)
