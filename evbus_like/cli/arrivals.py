"""How a received event is shown: as a line of JSON, or as a line for people."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.text import Text

from evbus_like.cli import output, shown
from evbus_like.engine.receiving.received import ReceivedEvent


class Lines:
    """Prints an event as a line of JSON."""

    def __call__(self, event: ReceivedEvent) -> None:
        """Print an event."""
        body = event.body
        facts: dict[str, Any] = {
            "timestamp": event.timestamp,
            "service": event.service,
            "routing_key": event.routing_key,
            "id": event.id,
            "redelivered": event.redelivered,
            "content_type": event.content_type,
            "headers": {name: shown.plain(value) for name, value in event.headers.items()},
        }
        if event.cloudevent is not None:
            facts["cloudevent"] = {name: shown.plain(value) for name, value in event.cloudevent.items()}
        if isinstance(body, bytes):
            facts["body"], facts["encoding"] = shown.encoded(body)
        else:
            facts["body"] = body
        try:
            line = json.dumps(facts, default=str)
        except (TypeError, ValueError, RecursionError):  # keys that are not text, or a body that contains itself
            line = json.dumps({**facts, "body": repr(body), "encoding": "repr"}, default=str)
        print(line, file=output.results(), flush=True)


class Pretty:
    """Prints an event as a line for people: time, service, type, id, body."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)

    def __call__(self, event: ReceivedEvent) -> None:
        """Print an event."""
        when = shown.clock(event.timestamp)
        width = max(20, self._console.width - 60) if self._console.is_terminal else 500
        parts = ((when, "dim"), (event.service, "cyan"), (event.routing_key or "-", "bold"), (event.id or "-", "dim"))
        line = Text(" ").join(Text(shown.visible(text), style) for text, style in parts)
        line.append(f" {shown.visible(_body(event.body, width))}")
        self._console.print(line)
        self._console.file.flush()


def _body(body: Any, width: int) -> str:
    if isinstance(body, bytes):
        text, how = shown.encoded(body)
        return shown.short(text, width) if how == "utf-8" else f"{how} {shown.short(text, width)}"
    return shown.short(body, width)
