"""`evbus schema`: print the declared events as a JSON Schema or an AsyncAPI document."""

from __future__ import annotations

from typing import Any

from evbus_like.cli import console
from evbus_like.engine.declared import asyncapi, schema


async def run(hub: Any) -> int:
    """Print the document; raises DeclarationError if a declaration is wrong."""
    hub.evbus.RUNTIME.events.must_be_sound()
    settings = hub.OPT.evbus_like
    declarations = [event.declaration for event in hub.evbus.events.listed()]
    if settings.asyncapi:
        console.document(asyncapi.document(declarations, settings.title, settings.api_version))
    else:
        console.document(schema.document(declarations))
    return 0
