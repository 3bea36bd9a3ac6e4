"""Decode received bodies by their content type, with the serialize plugins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.hub import plugins
from evbus_like.hub.runtime import Hub

Load = Callable[[bytes], Any]


def decoder(hub: Hub) -> Callable[[ReceivedEvent], Any]:
    """Return the function that decodes bodies; a body with no content type, or an unknown one, stays bytes.

    The function raises what the serializer raises for bytes that do not match the content type.
    """
    loads: dict[str, Load] = {}
    for plugin in plugins.loaded(hub, "serialize").values():
        content_type = getattr(plugin, "CONTENT_TYPE", "")
        if content_type and "load" in plugin._funcs:
            loads[content_type] = plugins.unwrapped(hub, plugin.load)
    loads["text/plain"] = _text

    def decode(event: ReceivedEvent) -> Any:
        load = loads.get(event.content_type)
        if load is None:
            plain = event.content_type.partition(";")[0].strip().lower()
            load = loads.get(plain) or (_text if plain.startswith("text/") else bytes)
        return load(event.raw)

    return decode


def _text(raw: bytes) -> str:
    return raw.decode()
