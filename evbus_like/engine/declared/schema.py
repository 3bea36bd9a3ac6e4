"""JSON Schema (draft 2020-12) of declared events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import inspect as mi

from evbus_like.engine.declared import shape
from evbus_like.engine.declared.declaration import Declaration

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(declaration: Declaration) -> dict[str, Any]:
    """Give the self-contained schema of one event's body."""
    made, parts = pieces(declaration, "#/$defs/{name}")
    return {"$schema": DIALECT, **made, **({"$defs": parts} if parts else {})}


def document(declarations: Sequence[Declaration]) -> dict[str, Any]:
    """Give one schema for the bodies of all events; each is under `$defs` by the event's full name."""
    parts: dict[str, Any] = {}
    for each in declarations:
        parts.update(named(each, "#/$defs/"))
    refs = [{"$ref": f"#/$defs/{each.full_name}"} for each in declarations]
    return {"$schema": DIALECT, "title": "Declared events", **({"anyOf": refs} if refs else {}), "$defs": parts}


def named(declaration: Declaration, place: str, name: str = "") -> dict[str, Any]:
    """Give the schemas of an event and of the types that it uses, under names that no other event has."""
    name = name or declaration.full_name
    made, parts = pieces(declaration, f"{place}{name}.{{name}}")
    return {name: made, **{f"{name}.{part}": each for part, each in parts.items()}}


def pieces(declaration: Declaration, ref_template: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the schema of an event's body, and those of the types that it refers to by `ref_template`."""
    parameters = list(declaration.parameters.values())
    found, parts = msgspec.json.schema_components([each.hint for each in parameters], ref_template=ref_template)
    tuples = {
        part.cls.__name__: part
        for each in parameters
        for part in shape.parts(each.info)
        if isinstance(part, mi.NamedTupleType)
    }
    properties: dict[str, Any] = {}
    for each, made in zip(parameters, found, strict=True):
        properties[each.name] = dict(made) if each.required else {**made, "default": each.default}
    whole: dict[str, Any] = {"title": declaration.full_name}
    if declaration.doc:
        whole["description"] = declaration.doc
    whole |= {"type": "object", "properties": properties}
    whole["required"] = [each.name for each in parameters if each.required]
    whole["additionalProperties"] = False
    return whole, {name: _as_mapping(made, tuples) for name, made in parts.items()}


def _as_mapping(made: dict[str, Any], tuples: dict[str, mi.NamedTupleType]) -> dict[str, Any]:
    """Turn msgspec's schema of a NamedTuple, which is a list, into that of a mapping, as events have it."""
    info = tuples.get(made.get("title", ""))
    if info is None or "prefixItems" not in made:
        return made
    kept: dict[str, Any] = {name: made[name] for name in ("title", "description") if name in made}
    properties = dict(zip((field.name for field in info.fields), made["prefixItems"], strict=True))
    required = [field.name for field in info.fields if field.required]
    return {**kept, "type": "object", "properties": properties, "required": required, "additionalProperties": False}
