"""A declaration: an event as its function declares it; builds and checks bodies."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from evbus_like.engine.declared.parameter import Parameter
from evbus_like.engine.errors import BadEvent, DeclarationError, SerializeError
from evbus_like.engine.event import check, service_headers

MOST, LONGEST = 10, 40  # unknown names in a message, and their characters
FORBIDDEN = {
    inspect.Parameter.VAR_POSITIONAL: "*{}: an event is fired by names, and declares each of them",
    inspect.Parameter.VAR_KEYWORD: "**{}: an event declares each of its names",
    inspect.Parameter.POSITIONAL_ONLY: "{}, which is positional-only: an event is fired by names",
}


class Declaration:
    """One event of a service: its parameters in order, and the docstring of its function."""

    def __init__(self, service: Any, name: str, parameters: Mapping[str, Parameter], doc: str = "") -> None:
        try:
            check(name, "", service_headers(service, name), None)
        except BadEvent as error:
            raise DeclarationError(str(error)) from error
        self.service: str = service
        self.name = name
        self.parameters = dict(parameters)
        self.doc = doc
        self.full_name = f"{service}.{name}"

    def __repr__(self) -> str:
        return f"<Declaration {self.full_name}({', '.join(self.parameters)})>"

    def body(self, arguments: tuple[Any, ...], given: Mapping[str, Any]) -> dict[str, Any]:
        """Build the body from a call's arguments; raises BadEvent or SerializeError, which name what is wrong."""
        if arguments:
            call = ", ".join(f"{name}=..." for name in self.parameters)
            raise BadEvent(
                f"{self.full_name} takes keyword arguments only, not {len(arguments)} positional: {self.name}({call})"
            )
        self._check_names(given)
        try:
            plain = {name: self.parameters[name].plain(value) for name, value in given.items()}
            cast = self._cast(plain)
            return {name: self.parameters[name].plain(value) for name, value in cast.items()}
        except SerializeError as error:
            raise SerializeError(f"{self.full_name}: {error}", error.path) from error

    def check(self, body: Any) -> dict[str, Any]:
        """Give the values of a body, cast to the hints and completed with defaults; raises BadEvent."""
        if not isinstance(body, Mapping):
            raise BadEvent(f"{self.full_name}: the body must map names to values, not be a {type(body).__name__}")
        self._check_names(body)
        return self._cast(body, quote=False)

    def _check_names(self, given: Mapping[str, Any]) -> None:
        missing = [name for name, each in self.parameters.items() if each.required and name not in given]
        extra = [f"{name!s:.{LONGEST}}" for name in given if name not in self.parameters]
        extra = [*extra[:MOST], f"and {len(extra) - MOST} more"] if len(extra) > MOST else extra
        if missing or extra:
            wrong = [f"missing: {', '.join(missing)}"] * bool(missing) + [f"unknown: {', '.join(extra)}"] * bool(extra)
            raise BadEvent(f"{self.full_name}: {'; '.join(wrong)}; it has {', '.join(self.parameters) or 'no names'}")

    def _cast(self, given: Mapping[str, Any], quote: bool = True) -> dict[str, Any]:
        made: dict[str, Any] = {}
        wrong: list[str] = []
        for name, each in self.parameters.items():
            try:
                made[name] = each.cast(given.get(name, each.default), quote)
            except BadEvent as error:
                wrong.append(str(error))
        if wrong:
            raise BadEvent(f"{self.full_name}: {'; '.join(wrong)}")
        return made


def declare(service: Any, name: str, function: Callable[..., Any]) -> Declaration:
    """Read the declaration from a function whose first parameter is the hub; raises DeclarationError."""
    found = list(inspect.signature(function).parameters.values())
    if not found or found[0].name != "hub":
        raise DeclarationError(f"the first parameter must be hub: async def {name}(hub, ...): ...")
    for each in found:
        if each.kind in FORBIDDEN:
            raise DeclarationError(f"it has {FORBIDDEN[each.kind].format(each.name)}")
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:  # an unknown name, or whatever evaluating a hint raises
        raise DeclarationError(f"its hints cannot be read: {type(error).__name__}: {error}") from error
    parameters = {
        each.name: Parameter(
            each.name, hints.get(each.name, Any), each.default, required=each.default is inspect.Parameter.empty
        )
        for each in found[1:]
    }
    return Declaration(service, name, parameters, inspect.cleandoc(function.__doc__ or ""))
