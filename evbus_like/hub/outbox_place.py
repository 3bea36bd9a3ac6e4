"""Where the outbox of an application is by default: one for each application of a user, in the XDG state folder."""

from __future__ import annotations

import glob
import os
import re
import sys
from pathlib import Path
from zlib import crc32

from evbus_like.engine.errors import SettingError
from evbus_like.engine.given_files import expanded
from evbus_like.hub.profiles import settings
from evbus_like.hub.runtime import Hub

FILE = "outbox.sqlite"
SHARED = ("bin", "Scripts", "site-packages", "dist-packages")  # folders of programs that run many applications
UNSAFE = re.compile(r"[^\w.+-]+")


def folder() -> Path:
    """Return the folder of all outboxes of this user; raises SettingError where there is none."""
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        parent = Path(state) if state.startswith("/") else expanded("~/.local/state")
    except RuntimeError:
        raise SettingError(
            f"the outbox has no default place, because user {os.geteuid()} has no home folder: name the file with"
            " EVBUS_OUTBOX or the setting outbox_path, or set HOME or XDG_STATE_HOME"
        ) from None
    return parent / "evbus_like"


def default_path(hub: Hub) -> Path:
    """Return the default path of this application."""
    return folder() / application(hub) / FILE


def application(hub: Hub) -> str:
    """Return a name for this application that another one of the same user does not have.

    It is the setting service_name, or the packages of --app, or else the name of the program, with a checksum of its
    path. For programs that run many applications, such as `evbus run`, it is that of the current folder.
    """
    named = settings.config(hub, "service_name") or "-".join(sorted(settings.config(hub, "app") or []))
    if named:
        return _safe(named)
    place = _program()
    return f"{_safe(place.stem)}-{crc32(os.fsencode(place)):08x}"


def others(hub: Hub) -> list[Path]:
    """Return the other outboxes in the default folder."""
    found = [folder() / FILE, *sorted(folder().glob(f"*/{FILE}"))]
    return [path for path in found if path.exists() and path != default_path(hub)]


def earlier(hub: Hub) -> list[Path]:
    """Return those that may be of this application: of releases with one path for all, and of another folder."""
    name = application(hub).rpartition("-")[0] or "-"
    return [path for path in others(hub) if path.parent == folder() or path.parent.name.rpartition("-")[0] == name]


def of_worker(path: Path, number: int) -> Path:
    """Return the path of an application's outbox, or of the second and later ones of its workers."""
    return path if number == 1 else path.with_name(f"{path.stem}.worker-{number}{path.suffix}")


def of_workers(path: Path) -> list[Path]:
    """Return the outboxes that there are of an application, whose first one has the path."""
    found = path.parent.glob(f"{glob.escape(path.stem)}.worker-*{glob.escape(path.suffix)}")
    number = re.compile(rf"{re.escape(path.stem)}\.worker-(\d+){re.escape(path.suffix)}")
    numbered = [(int(match[1]), each) for each in found if (match := number.fullmatch(each.name))]
    return [*([path] if os.path.exists(path) else []), *(each for _, each in sorted(numbered))]


def _program() -> Path:
    script = sys.argv[0] if sys.argv else ""
    if not os.path.isfile(script):  # -c, or an interactive session
        return Path.cwd()
    path = Path(os.path.realpath(script))
    if path.name == "__main__.py":
        path = path.parent
    shared = path.parent.name in SHARED or path.name == "evbus_like"
    return Path.cwd() if shared else path


def _safe(name: str) -> str:
    return UNSAFE.sub("_", name).strip(".")[:100] or "root"
