"""The service press: printing takes its time."""

import evbus_like.handlers as evbus


class NoPaper(Exception):
    """The code goes to the caller with it."""

    code = 17


@evbus.method(expected_exceptions=NoPaper)
async def print_book(hub, title):
    """Print a book."""
    if title == "war and peace":
        raise NoPaper("too long")
    return {"printed": title}
