"""`evbus events`: list the events that installed packages declare."""

from __future__ import annotations

import inspect
from typing import Any

from evbus_like.cli import console
from evbus_like.hub.application.events import DeclaredEvent

NOTHING = (
    'no events are declared; a package declares them in a folder that its conf.py names, DYNE = {"event": ["event"]};'
    " is it installed, or on PYTHONPATH?"
)


async def run(hub: Any) -> int:
    """Print the declared events; raises DeclarationError if one is wrong."""
    hub.evbus.RUNTIME.events.must_be_sound()
    events = hub.evbus.events.listed()
    if hub.OPT.evbus_like.json:
        console.document([_document(event) for event in events])
    elif not events:
        print(NOTHING)
    else:
        rows = [(event.service, event.name, _parameters(event), event.profile, _about(event)) for event in events]
        console.table(f"{len(events)} declared events", ("service", "event", "names", "profile", "about"), rows)
    return 0


def _document(event: DeclaredEvent) -> dict[str, Any]:
    names = {"service": event.service, "event": event.name, "profile": event.profile, "on_the_hub": event.where}
    return {**names, "about": event.declaration.doc, "schema": event.schema()}


def _parameters(event: DeclaredEvent) -> str:
    found = event.declaration.parameters.values()
    return ", ".join(
        each.name
        + ("" if each.hint is Any else f": {inspect.formatannotation(each.hint)}")
        + ("" if each.required else f" = {each.default!r}")
        for each in found
    )


def _about(event: DeclaredEvent) -> str:
    return event.declaration.doc.partition("\n")[0]
