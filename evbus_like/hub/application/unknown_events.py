"""Errors for events that are not on the hub: `hub.event.auth.user_creatd` names the nearest one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from evbus_like.engine.suggest import did_you_mean


def suggest(found: Any, what: str, names: Iterable[str]) -> None:
    """Let a folder of the hub, or a file in it, name the nearest attribute instead of one that it does not have.

    pop makes its own classes for both, so the object gets a class derived from its own.
    """
    known = sorted(names)
    kind = type(found)
    if getattr(kind, "suggests", False):
        kind = kind.__mro__[1]

    def __getattr__(self: Any, name: str) -> Any:
        try:
            return kind.__getattr__(self, name)
        except AttributeError:
            if name.startswith("_"):  # what Python and pop look for themselves
                raise
            raise AttributeError(f"{what} {name!r}; {did_you_mean(name, known)}") from None

    found.__class__ = type(kind.__name__, (kind,), {"__getattr__": __getattr__, "suggests": True})
