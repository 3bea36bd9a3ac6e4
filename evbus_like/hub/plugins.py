"""Look up plugins, here only, because pop's own look-up hides errors.

`hasattr(hub.ingress, name)` is true for a plugin that refused to load, and a plugin that crashed while it was imported
is returned half executed by the second look-up. So failures are recorded at the first look-up.
"""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pop.hub import Sub

from evbus_like.engine.errors import HandlerError, ProfileError
from evbus_like.engine.sending.serializer import Serializer
from evbus_like.engine.suggest import did_you_mean, shown
from evbus_like.hub import packages
from evbus_like.hub.runtime import Hub


def add(hub: Any, dyne: str) -> None:
    """Put a dyne on the hub.

    Raises HandlerError for a plugin that ends the program while it is imported, and for a folder that is not there.
    """
    with packages.blamed(), _no_exit(dyne):
        hub.pop.sub.add(dyne_name=dyne)


def add_later(hub: Any, dyne: str) -> None:
    """Put a dyne on the hub whose plugins are imported at its first use."""
    if dyne not in hub._subs:
        hub._cache_reset()
        sub = Sub(hub, dyne, dyne_name=dyne, omit_class=True, mod_basename="pop.sub")
        sub.__class__ = _LaterSub
        hub._subs[dyne] = sub


def is_imported(sub: Any) -> bool:
    """Whether the plugins of a sub that was added for later are imported."""
    return not isinstance(sub, _LaterSub)


def has_subdir(sub: Any, name: str) -> bool:
    """Whether a sub has plugins in a folder of this name, without importing them."""
    return name in vars(sub)["_subs"] or any(os.path.isdir(os.path.join(path, name)) for path in sub._dirs)


class _LaterSub(Sub):  # type: ignore[misc]
    """A sub that does at its first use what pop does when it is added; then it is an ordinary one.

    Importing acct and all that it brings takes as long as the rest of a start. pop-config reads `_loaded`, and others
    `_subs`, without a look-up.
    """

    def __getattr__(self, item: str) -> Any:
        if item.startswith("_"):
            return self.__getattribute__(item)
        self._load_all()
        return getattr(self, item)

    def __setattr__(self, item: str, value: Any) -> None:
        if not item.startswith("_"):
            self._load_all()  # else what acct sets at its start would replace it
        object.__setattr__(self, item, value)

    @property
    def _loaded(self) -> Any:
        self._load_all()
        return self._loaded

    @property
    def _subs(self) -> Any:
        self._load_all()
        return self._subs

    def _load_all(self) -> None:
        self.__class__ = Sub
        with _no_exit(self._subname):
            self._sub_init()
            self._load_all()


@contextmanager
def _no_exit(dyne: str) -> Iterator[None]:
    try:
        yield
    except SystemExit as end:
        *_, place = [
            f"{frame.filename}, line {frame.lineno}"
            for frame in traceback.extract_tb(end.__traceback__)
            if frame.name == "<module>"
        ] or [dyne]
        raise HandlerError(
            f"{place}: the plugin ended the program while it was imported, with SystemExit({shown(end.code)});"
            " move what it does there into a function"
        ) from None


def broken(sub: Any) -> dict[str, str]:
    """Return the plugins of a sub that could not be loaded, with the reason; call it directly after sub.add."""
    reasons = {}
    for name, error in sub._load_errors.items():
        facts = error()
        reason = facts["verror"] or facts["exception"]
        reasons[name] = f"{type(reason).__name__}: {reason}" if isinstance(reason, Exception) else str(reason)
    return reasons


def loaded(hub: Hub, sub_name: str) -> dict[str, Any]:
    """Return the plugins of a sub that could be loaded, by name."""
    failed = hub.evbus.RUNTIME.broken.get(sub_name, {})
    return {name: mod for name, mod in hub[sub_name]._loaded.items() if name != "init" and name not in failed}


def plugin(hub: Hub, sub_name: str, name: str, what: str) -> Any:
    """Return one plugin; raises ProfileError that says why it is missing and names similar ones."""
    found = loaded(hub, sub_name)
    if name in found:
        return found[name]
    reason = hub.evbus.RUNTIME.broken.get(sub_name, {}).get(name)
    if reason:
        raise ProfileError(f"{what} {name!r} could not be loaded: {reason}")
    raise ProfileError(f"unknown {what} {name!r}; {did_you_mean(name, found)}")


def serializer(hub: Hub, name: str) -> Serializer:
    """Return the serializer of a name; raises ProfileError."""
    mod = plugin(hub, "serialize", name, "serializer")
    if "dump" not in mod._funcs:
        raise ProfileError(f"serializer {name!r} has no function dump(hub, data)")
    content_type = getattr(mod, "CONTENT_TYPE", "application/octet-stream")
    return Serializer(name, content_type, unwrapped(hub, mod.dump))


def matcher(hub: Hub, name: str) -> Callable[[str], Callable[[str], bool]]:
    """Return the function of a match plugin that compiles a pattern; raises ProfileError."""
    mod = plugin(hub, "match", name, "match plugin")
    if "compile" in mod._funcs:
        compiled: Callable[[str], Callable[[str], bool]] = mod.compile
        return compiled
    find = mod.find
    return lambda pattern: lambda event_profile: bool(find(event_profile, pattern))


def unwrapped(hub: Hub, function: Any) -> Any:
    """Return the plain function behind the hub's wrapper, bound to the hub, unless a contract is wrapped around it."""
    if getattr(function, "_has_contracts", True) or not getattr(function, "implicit_hub", False):
        return function
    return functools.partial(function.func, hub)
