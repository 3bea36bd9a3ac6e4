"""Refuse to run beside pop-evbus and its plugins, or beside a second copy of this package: pop would merge both."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from pathlib import Path

from evbus_like.engine.errors import LifecycleError

# Their projects, packages, and files that tell them from others of the same name, as those in compat/ are.
OTHERS = (
    ("pop-evbus", "evbus", "evbus/broker.py"),
    ("evbus-pika", "evbus_pika", "ingress/*.py"),
    ("evbus-kafka", "evbus_kafka", "ingress/*.py"),
)
OURS = "evbus_like"


@functools.cache
def problem() -> str:
    """Return what is wrong with the packages beside this one, or an empty string."""
    found = {project: folder for project, package, files in OTHERS if (folder := _folder(package, files))}
    if found:
        names, folders = " and ".join(found), ", ".join(found.values())
        what = "and both merge into hub.evbus" if "pop-evbus" in found else "and every event would be sent twice"
        return (
            f"{names} {'is' if len(found) == 1 else 'are'} installed beside evbus-like (in {folders}), {what}:"
            " pip uninstall pop-evbus evbus-pika evbus-kafka, which evbus-like replaces; if another package requires"
            " them, as idem does, install the distributions of these names in evbus-like's folder compat instead"
        )
    copies = _copies()
    if len(copies) > 1:
        return (
            f"{OURS} is there {len(copies)} times, in {' and in '.join(copies)}, and every event would be sent"
            f" {len(copies)} times: remove all but one from PYTHONPATH or with pip uninstall, or change the folder"
        )
    return ""


def _folder(package: str, files: str) -> str:
    """Return the folder of a package that has such files, or an empty string."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return ""
    folders = (spec and spec.submodule_search_locations) or ()
    return next((folder for folder in folders if any(Path(folder).glob(files))), "")


def _copies() -> list[str]:
    """Return the folders of this package that pop finds."""
    found = (os.path.realpath(os.path.join(folder, OURS)) for folder in sys.path)
    return list(dict.fromkeys(folder for folder in found if os.path.isfile(os.path.join(folder, "conf.py"))))


def none() -> bool | tuple[bool, str]:
    """Return what a plugin's __virtual__ returns: True, or False and the reason."""
    return (False, problem()) if problem() else True


def refuse() -> None:
    """Raise LifecycleError if pop would merge another package's bus with this one."""
    if problem():
        raise LifecycleError(problem())
