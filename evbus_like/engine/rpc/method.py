"""A method of a service: the function, and how it is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from evbus_like.engine.errors import IncorrectSignature

P = inspect.Parameter


@dataclass(frozen=True)
class Method:
    """A function that answers requests; `signature` is its own, with the hub in it where `has_hub` says so.

    `repeat` says whether a request may be tried again after a crash.
    """

    ref: str
    service: str
    name: str
    call: Callable[..., Any]
    is_async: bool
    signature: inspect.Signature
    has_hub: bool = True
    sensitive: tuple[str, ...] = ()
    expected_exceptions: tuple[type[BaseException], ...] = ()
    timeout: float | None = None
    repeat: bool = True

    @cached_property
    def _plain(self) -> tuple[list[str], frozenset[str], frozenset[str]] | None:
        """The names of parameters that have both a place and a name, all of them and the needed ones; None: ask."""
        own = list(self.signature.parameters.values())[1 if self.has_hub else 0 :]
        if any(each.kind is not P.POSITIONAL_OR_KEYWORD for each in own):
            return None
        needed = frozenset(each.name for each in own if each.default is P.empty)
        return [each.name for each in own], frozenset(each.name for each in own), needed

    def bind(self, args: list[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise IncorrectSignature where the arguments do not fit."""
        if self._plain is not None:  # signature.bind costs as much as the rest of a call in memory
            names, known, needed = self._plain
            placed = names[: len(args)]
            if len(args) <= len(names) and known >= kwargs.keys() and kwargs.keys().isdisjoint(placed):
                missing = needed - kwargs.keys()
                if not missing or missing.issubset(placed):
                    return
        try:
            self.signature.bind(*([None] if self.has_hub else []), *args, **kwargs)
        except TypeError as error:
            raise IncorrectSignature(f"{error}; it is {self}") from None

    def __str__(self) -> str:
        own = list(self.signature.parameters.values())[1 if self.has_hub else 0 :]
        return f"{self.service}.{self.name}({', '.join(str(each) for each in own)})"
