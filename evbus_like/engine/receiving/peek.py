"""Reads the id and the type of a structured CloudEvent, and makes no objects of the rest."""

from __future__ import annotations

from typing import Any

import msgspec


class _Envelope(msgspec.Struct):
    id: str = ""
    type: str = ""


_decoder = msgspec.json.Decoder(_Envelope)


def peek(raw: bytes) -> dict[str, Any]:
    """Return `id` and `type`; empty if the bytes are no such event, which its decoder will say."""
    try:
        found = _decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return {"id": found.id, "type": found.type}
