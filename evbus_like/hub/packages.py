"""What is wrong with the conf.py of packages: pop skips a file that fails, and dies of one that is wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from evbus_like.engine.errors import EvbusError, HandlerError
from evbus_like.engine.foreign import text_of
from evbus_like.engine.suggest import shown

OURS = frozenset(
    ("handler", "service", "middleware", "lifespan", "event", "ingress", "egress", "serialize", "match", "log")
)
SECTIONS = ("CONFIG", "CLI_CONFIG", "SUBCOMMANDS")
EXAMPLE = '{"handler": ["handler"]}'


@contextmanager
def blamed() -> Iterator[None]:
    """Raise a HandlerError that names what is wrong in a conf.py, if pop fails in the block and something is."""
    try:
        yield
    except (EvbusError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if isinstance(error, SystemExit) and error.code in (0, None):  # --help
            raise
        if found := [f"{file}: {problem}" for file, problem in problems(every=True)]:
            raise HandlerError("\n  ".join(found)) from error
        raise


def check() -> list[str]:
    """Raise a HandlerError for a wrong conf.py; returns what is wrong with those of installed packages."""
    own: list[str] = []
    installed: list[str] = []
    for file, problem in problems():
        place = os.path.dirname(os.path.dirname(file))
        (installed if place.endswith("-packages") else own).append(f"{file}: {problem}")
    if own:
        raise HandlerError("\n  ".join(own))
    return installed


def problems(every: bool = False) -> Iterator[tuple[str, str]]:
    """Yield each conf.py that names plugin folders, of the packages that pop looks at, with what is wrong with it.

    That a folder is missing counts only for the dynes of this package, unless `every`.
    """
    for file in dict.fromkeys(_files()):
        if problem := _problem(file, every):
            yield file, problem


def _files() -> Iterator[str]:
    for place in sys.path:
        if not os.path.isdir(place):
            continue
        for name in sorted(os.listdir(place)):
            file = os.path.join(place, name, "conf.py")
            if os.path.isfile(file):
                yield file


def _problem(file: str, every: bool) -> str:
    found: dict[str, Any] = {}
    try:
        with open(file) as opened:
            text = opened.read()
        if "DYNE" not in text:
            return ""
        exec(compile(text, file, "exec"), found)  # as pop does
    except KeyboardInterrupt:
        raise
    except SystemExit as end:
        return f"it ends the program, with SystemExit({shown(end.code)}); it may only define settings and folders"
    except BaseException as error:
        return f"it failed, so nothing of its package is found: {text_of(error)}"
    if "DYNE" not in found:
        return ""
    return _dyne_problem(os.path.dirname(file), found["DYNE"], every) or next(
        (
            f"{name} must map names to mappings, not be {shown(found[name])}"
            for name in SECTIONS
            if name in found and not _is_section(found[name])
        ),
        "",
    )


def _dyne_problem(package: str, dynes: Any, every: bool) -> str:
    if not isinstance(dynes, dict):
        return f"DYNE must map dynes to lists of folders, such as {EXAMPLE}, not be a {type(dynes).__name__}"
    for name, folders in dynes.items():
        if not isinstance(name, str):
            return f"DYNE must map dynes to lists of folders, such as {EXAMPLE}, and has the key {shown(name)}"
        if not isinstance(folders, list) or not all(isinstance(each, str) and each.strip() for each in folders):
            return f"DYNE must have a list of folders for {name!r}, such as {EXAMPLE}, not {shown(folders)}"
        for each in folders:
            place = os.path.join(package, each.replace(".", os.sep))
            if (every or name in OURS) and ("\0" in each or not os.path.isdir(place)):
                where = f"and there is no {place!a}: make it, or correct the name"
                return f"DYNE names the folder {each!r} for {name!r}, {where}"
    return ""


def _is_section(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(each, Mapping) for each in value.values())
