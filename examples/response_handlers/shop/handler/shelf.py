"""The application that asks: its handlers hear the answers, whichever of its processes asked, and when it was."""

import evbus_like.handlers as evbus


@evbus.on_response("press", "print_book")
async def printed(hub, event):
    """Hear of a book that was printed."""
    print("printed:", event.body["printed"], "- the answer to", event.correlation_id == hub.ASKED[0])


@evbus.on_error("press", "print_book")
async def failed(hub, event):
    """Hear of one that was not."""
    print("failed:", event.body["class"], event.body["message"], event.body["code"])
