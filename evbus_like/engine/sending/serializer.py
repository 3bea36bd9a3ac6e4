"""A serializer, as the engine uses it; the hub layer makes one from a serialize plugin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from evbus_like.engine.errors import EventTooLarge, SerializeError
from evbus_like.engine.foreign import text_of
from evbus_like.engine.sending.lane import Lane


@dataclass(frozen=True)
class Serializer:
    """Turns bodies into bytes; serializers of the same name give the same bytes."""

    name: str
    content_type: str
    dump: Callable[[Any], bytes]

    def pack(self, body: Any, lanes: Sequence[Lane]) -> bytes:
        """Serialize a body for these lanes; raises SerializeError or EventTooLarge."""
        try:
            packed = self.dump(body)
        except (SerializeError, KeyboardInterrupt):
            raise
        except BaseException as error:  # a body's own code may raise SystemExit, which must not end the listener
            raise SerializeError(f"serializer {self.name} failed: {text_of(error)}") from error
        if type(packed) is not bytes:
            raise SerializeError(f"serializer {self.name} gave a {type(packed).__name__}; dump must give bytes")
        size = len(packed)
        for lane in lanes:
            if size > lane.max_event_bytes:
                raise EventTooLarge(
                    f"the body is {size} bytes as {self.name}, and {lane.name} takes at most {lane.max_event_bytes}:"
                    " send less, or a reference to it, or raise the profile's max_event_bytes if the broker takes more"
                )
        return packed
