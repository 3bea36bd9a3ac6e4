"""The JSON Schema of the status document, made of its types."""

from __future__ import annotations

from typing import Any

from evbus_like.monitor.document import Status

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of what `/status` answers."""
    import msgspec

    made: dict[str, Any] = msgspec.json.schema(Status)
    return {"$schema": DIALECT, "title": "The status of evbus_like", **made}
