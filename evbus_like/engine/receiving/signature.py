"""A handler's signature: it takes the hub and one event."""

from __future__ import annotations

import inspect
from typing import Any

P = inspect.Parameter


def problem(signature: inspect.Signature, has_hub: bool) -> str:
    """Say why a function cannot be called with one event, by position; nothing where it can."""
    parameters = list(signature.parameters.values())
    if has_hub:
        parameters = parameters[1:]
    places = [each for each in parameters if each.kind in (P.POSITIONAL_ONLY, P.POSITIONAL_OR_KEYWORD)]
    rest = any(each.kind is P.VAR_POSITIONAL for each in parameters)
    too_many = [each.name for each in places[1:] if each.default is P.empty]
    named = [each.name for each in parameters if each.kind is P.KEYWORD_ONLY and each.default is P.empty]
    shown = f"its signature is {_shown(signature)}, and a handler is (hub, event)"
    if not places and not rest:
        return f"it takes no event: {shown}"
    if too_many or named:
        return f"nothing is given for {', '.join(too_many + named)}: {shown}"
    return ""


def _shown(signature: inspect.Signature) -> str:
    names: list[Any] = [str(each).split(":")[0].split("=")[0].strip() for each in signature.parameters.values()]
    return f"({', '.join(names)})"
