"""Shapes: NamedTuples travel as mappings, as the table of types in `values.py` has them; msgspec knows them as lists.

So what comes in is turned into lists where a hint has a NamedTuple, before msgspec sees it.
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
    mi.StructType: "that has no form in an event; use a dataclass",
    mi.TimeDeltaType: "that has no form in an event; use a number of seconds",
    mi.ExtType: "that has no form in an event; use bytes",
    mi.RawType: "that has no form in an event; use bytes",
}
FIELDS = (mi.DataclassType, mi.TypedDictType)
SEQUENCES = (mi.ListType, mi.SetType, mi.FrozenSetType, mi.VarTupleType)


def parts(info: mi.Type) -> Iterator[mi.Type]:
    """Give a type and all that it is made of, each once."""
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
    """Say what in a type has no form in an event, or nothing."""
    for each in parts(info):
        cls = getattr(each, "cls", type(None))
        said = UNUSABLE.get(type(each))
        if isinstance(each, mi.DataclassType) and not dataclasses.is_dataclass(cls):
            said = "that has no form in an event; use a dataclass"
        if said:
            return (
                f"{cls.__name__ if cls is not type(None) else type(each).__name__.removesuffix('Type')}, a type {said}"
            )
    return ""


def named_tuples(info: mi.Type) -> str:
    """Give the NamedTuples in a type, as messages show them: "Point(x, y)"; nothing where there are none."""
    found = [each for each in parts(info) if isinstance(each, mi.NamedTupleType)]
    return ", ".join(f"{each.cls.__name__}({', '.join(field.name for field in each.fields)})" for each in found)


def listed(info: Any, value: Any) -> Any:
    """Turn the mappings of NamedTuples into lists, as msgspec takes them; what does not fit is its to refuse."""
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
    """Choose the member of a union that a container is meant for; msgspec lets a union have one of each kind."""
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
