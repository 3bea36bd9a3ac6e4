"""`evbus plugins`: list destinations, sources, serializers and matchers, with options and where they come from."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import UnionType
from typing import Any

from evbus_like.cli import console, shown
from evbus_like.engine import options
from evbus_like.engine.errors import EvbusError
from evbus_like.hub import plugins
from evbus_like.hub.profiles import contract

KINDS = {"ingress": "destination", "egress": "source", "serialize": "serializer", "match": "matcher"}
COMMON = "every profile"


async def run(hub: Any) -> int:
    """Print the plugins; returns 1 if one of them cannot be used."""
    owners = _owners()
    rows = [row for sub, kind in KINDS.items() for row in _of(hub, sub, kind, owners)]
    if hub.OPT.evbus_like.json:
        console.document({"plugins": rows, "common_options": _options(options.COMMON)})
    else:
        columns = ("kind", "name", "for", "package", "file", "trouble")
        console.table(shown.many(len(rows), "plugin"), columns, [_cells(row) for row in rows])
        described = [(f"{row['kind']} {row['name']}", each) for row in rows for each in row["options"]]
        described += [(COMMON, each) for each in _options(options.COMMON)]
        cells = [(of, each["name"], " or ".join(each["types"]), each["help"]) for of, each in described]
        console.table("options of profiles", ("plugin", "option", "type", "what it is"), cells)
    return 1 if any(row["trouble"] for row in rows) else 0


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    takes = ", ".join(row["providers"]) or row["content_type"]
    return row["kind"], row["name"], takes, f"{row['package']} {row['version']}".strip(), row["file"], row["trouble"]


def _of(hub: Any, sub: str, kind: str, owners: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the plugins of a folder of the hub, those that could not be loaded last."""
    for name, plugin in sorted(plugins.loaded(hub, sub).items()):
        accepted = getattr(plugin, "ACCT", None) or ()
        specs = getattr(plugin, "OPTIONS", None)
        yield {
            "kind": kind,
            "name": name,
            "providers": [accepted] if isinstance(accepted, str) else list(accepted),
            "content_type": str(getattr(plugin, "CONTENT_TYPE", "") or ""),
            "options": _options(specs) if isinstance(specs, Mapping) else [],
            **_place(str(getattr(plugin, "_file", "") or plugin._vars.get("__file__", "")), owners),
            "trouble": _trouble(kind, plugin),
        }
    for name, reason in sorted(hub.evbus.RUNTIME.broken.get(sub, {}).items()):
        empty: dict[str, Any] = {"providers": [], "content_type": "", "options": [], **_place("", owners)}
        yield {"kind": kind, "name": name, **empty, "trouble": f"it could not be loaded: {reason}"}


def _options(specs: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, "types": _types(spec), "help": _help(spec)} for name, spec in specs.items()]


def _types(spec: Any) -> list[str]:
    try:
        kinds = spec[0]
    except (TypeError, LookupError):  # the trouble says it
        return []
    kinds = kinds.__args__ if isinstance(kinds, UnionType) else kinds if isinstance(kinds, tuple) else (kinds,)
    return ["nothing" if each is type(None) else str(getattr(each, "__name__", each)) for each in kinds]


def _help(spec: Any) -> str:
    return str(spec[1]) if isinstance(spec, (tuple, list)) and len(spec) > 1 else ""


def _trouble(kind: str, plugin: Any) -> str:
    """Return why no profile can use a plugin, or an empty string."""
    for library in getattr(plugin, "REQUIRES", ()):
        if importlib.util.find_spec(library) is None:
            return f"it needs the library {library}, which is not installed: pip install {library}"
    try:
        if kind == "destination":
            contract.check(plugin)
        elif kind == "source":
            contract.check_source(plugin)
    except EvbusError as error:
        return str(error)
    return ""


def _place(file: str, owners: Mapping[str, str]) -> dict[str, str]:
    """Return the file of a plugin, and the distribution that it is installed by, or its package."""
    if not file:
        return {"file": "", "package": "", "version": ""}
    path = Path(file).resolve()
    for parent in path.parents:
        if (owner := owners.get(parent.name)) and str(parent.parent) in _search_path():
            return {"file": str(path), "package": owner, "version": metadata.version(owner)}
    package = next((each.name for each in path.parents if str(each.parent) in _search_path()), path.parent.name)
    return {"file": str(path), "package": package, "version": ""}


def _owners() -> dict[str, str]:
    """Return the distributions of top-level packages."""
    return {package: found[0] for package, found in metadata.packages_distributions().items()}


def _search_path() -> set[str]:
    return {str(Path(each or ".").resolve()) for each in sys.path}
