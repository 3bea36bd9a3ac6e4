"""Environment variables that resemble those of our settings, and that nobody reads."""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Iterator, Mapping

from evbus_like.hub.profiles.settings import SPECS
from evbus_like.hub.runtime import Hub
from evbus_like.processes import worker

log = logging.getLogger("evbus_like")

PREFIX = "EVBUS_"
READ = [spec["os"] for spec in SPECS.values() if "os" in spec]
NAMES = [variable.removeprefix(PREFIX) for variable in READ if variable.startswith(PREFIX)]
# Options of `evbus run` that have no variable.
OPTIONS = ("log_level", "log_file", "reload", "app", "only", "skip")
# Kubernetes sets these in every pod, for a service whose name begins with evbus.
OF_KUBERNETES = re.compile(r"\w+_SERVICE_(HOST|PORT(_\w+)?)|\w+_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?")


def warn(hub: Hub) -> None:
    """Warn of each in an application that reads our settings; the command has done so before its bus starts."""
    try:
        hub.OPT["evbus_like"]
    except (KeyError, AttributeError, TypeError):
        return
    for text in unread(os.environ) if hub.evbus.RUNTIME.settings_file is None else ():
        log.warning("%s", text)


def unread(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a message for each one that resembles ours; others may be a plugin's, or another program's."""
    for variable in sorted(environ):
        upper = variable.upper()
        if not upper.startswith(PREFIX[:2]) or variable in READ or variable == worker.VARIABLE:
            continue
        if OF_KUBERNETES.fullmatch(upper) or (upper.endswith("_PORT") and "://" in environ[variable]):
            continue
        if meant := _meant(upper):
            yield f"no setting is read from {variable}; {meant}"


def _meant(variable: str) -> str:
    """Return what somebody meant with a variable in capitals, empty if that is uncertain."""
    name = variable.removeprefix(PREFIX).lower()
    if name in OPTIONS:
        return f"use the option --{name.replace('_', '-')}"
    if not variable.startswith(PREFIX):
        near = difflib.get_close_matches(variable, READ, n=1, cutoff=0.9)
    elif "os" in SPECS.get(name, {}):
        near = [SPECS[name]["os"]]
    else:
        near = [PREFIX + each for each in difflib.get_close_matches(name.upper(), NAMES)]
    return f"did you mean {' or '.join(near)}?" if near else ""
