"""Refuse to run beside pop-evbus: both merge into hub.evbus and hub.ingress, and neither would work."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

from evbus_like.engine.errors import LifecycleError


@functools.cache
def pop_evbus() -> str:
    """Return the folder of an installed pop-evbus, or an empty string."""
    spec = importlib.util.find_spec("evbus")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (Path(folder) / "evbus" / "broker.py").is_file():
            return folder
    return ""


def none() -> bool | tuple[bool, str]:
    """Return what a plugin's __virtual__ returns: True, or False and the reason."""
    return (False, _text()) if pop_evbus() else True


def refuse_pop_evbus() -> None:
    """Raise LifecycleError if pop-evbus is installed."""
    if pop_evbus():
        raise LifecycleError(_text())


def _text() -> str:
    return (
        f"pop-evbus is installed beside evbus-like (in {pop_evbus()}), and both merge into hub.evbus."
        " evbus-like does all that pop-evbus, evbus-pika and evbus-kafka do, under the same names:"
        " pip uninstall pop-evbus evbus-pika evbus-kafka"
    )
