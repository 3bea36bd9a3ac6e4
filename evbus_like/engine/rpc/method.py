"""A method of a service: the function, and how it is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from evbus_like.engine.errors import IncorrectSignature


@dataclass(frozen=True)
class Method:
    """A function that answers requests; `repeat` says whether a request may be tried again after a crash."""

    ref: str
    service: str
    name: str
    call: Callable[..., Any]
    is_async: bool
    signature: inspect.Signature
    sensitive: tuple[str, ...] = ()
    expected_exceptions: tuple[type[BaseException], ...] = ()
    timeout: float | None = None
    repeat: bool = True

    def bind(self, args: list[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise IncorrectSignature where the arguments do not fit."""
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            wanted = ", ".join(str(each) for each in self.signature.parameters.values())
            raise IncorrectSignature(f"{error}; it is {self.service}.{self.name}({wanted})") from None
