"""Shapes: events hold NamedTuples as mappings (the table of types in `values.py`), and msgspec takes them as lists.

Incoming mappings become lists where a hint has a NamedTuple, before msgspec casts them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import NODEFAULT
from msgspec import inspect as mi

from evbus_like.engine import values

UNUSABLE = {
    mi.CustomType: "that msgspec cannot check; use a builtin type, a dataclass, a NamedTuple or a TypedDict",
    mi.StructType: "that events cannot hold; use a dataclass",
    mi.TimeDeltaType: "that events cannot hold; use a number of seconds",
    mi.ExtType: "that events cannot hold; use bytes",
    mi.RawType: "that events cannot hold; use bytes",
}
FIELDS = (mi.DataclassType, mi.TypedDictType)
SEQUENCES = (mi.ListType, mi.SetType, mi.FrozenSetType, mi.VarTupleType)


def parts(info: mi.Type) -> Iterator[mi.Type]:
    """Yield a type and all types inside it, each once."""
    seen: set[int] = set()
    waiting: list[Any] = [info]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [field.type for field in getattr(each, "fields", ())]
        waiting += [*getattr(each, "types", ()), *getattr(each, "item_types", ())]
        waiting += [getattr(each, name) for name in ("item_type", "key_type", "value_type") if hasattr(each, name)]


def problem(info: mi.Type) -> str:
    """Say which part of a type cannot be in an event; empty if all can."""
    for each in parts(info):
        cls = getattr(each, "cls", type(None))
        said = UNUSABLE.get(type(each))
        if isinstance(each, mi.DataclassType) and not dataclasses.is_dataclass(cls):
            said = "that events cannot hold; use a dataclass"
        if said:
            return (
                f"{cls.__name__ if cls is not type(None) else type(each).__name__.removesuffix('Type')}, a type {said}"
            )
    return ""


def named_tuples(info: mi.Type) -> str:
    """Give the NamedTuples in a type for messages: "Point(x, y)"; empty if there are none."""
    found = [each for each in parts(info) if isinstance(each, mi.NamedTupleType)]
    return ", ".join(f"{each.cls.__name__}({', '.join(field.name for field in each.fields)})" for each in found)


def listed(info: Any, value: Any) -> Any:
    """Turn mappings of NamedTuples into lists for msgspec, which refuses what does not fit."""
    if isinstance(info, mi.UnionType):
        info = _member(info, value)
    if isinstance(value, Mapping):
        if isinstance(info, mi.NamedTupleType) and _fits(info, value):
            return [listed(field.type, _field(field, value)) for field in info.fields]
        if isinstance(info, FIELDS):
            kinds = {field.encode_name: field.type for field in info.fields}
            return {name: listed(kinds.get(name), item) for name, item in value.items()}
        if isinstance(info, mi.DictType):
            return {name: listed(info.value_type, item) for name, item in value.items()}
    elif isinstance(value, (list, tuple)):
        if isinstance(info, SEQUENCES):
            return [listed(info.item_type, item) for item in value]
        kinds_in_order: Any = ()
        if isinstance(info, mi.TupleType):
            kinds_in_order = info.item_types
        elif isinstance(info, mi.NamedTupleType):
            kinds_in_order = [field.type for field in info.fields]
        if len(kinds_in_order) == len(value):
            return [listed(kind, item) for kind, item in zip(kinds_in_order, value, strict=True)]
    return value


def _member(info: mi.UnionType, value: Any) -> Any:
    """Choose the member of a union for a container; msgspec allows one of each kind in a union."""
    if isinstance(value, Mapping):
        tuples = [each for each in info.types if isinstance(each, mi.NamedTupleType) and _fits(each, value)]
        return next(iter([*tuples, *(each for each in info.types if isinstance(each, (*FIELDS, mi.DictType)))]), None)
    kinds = (*SEQUENCES, mi.TupleType, mi.NamedTupleType)
    return next((each for each in info.types if isinstance(each, kinds)), None)


def _fits(info: mi.NamedTupleType, value: Mapping[Any, Any]) -> bool:
    names = {field.name for field in info.fields}
    return names.issuperset(value) and all(field.name in value for field in info.fields if field.required)


def _field(field: mi.Field, value: Mapping[Any, Any]) -> Any:
    if field.name in value:
        return value[field.name]
    return values.plain(field.default, False) if field.default is not NODEFAULT else None
