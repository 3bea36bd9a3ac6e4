"""Kafka's jars from Maven Central, by Maven itself."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from .kafka_jars import POM, jar_folder

_PREFIX = "fetching-"


def fetch_jars() -> None:
    """Fill the cache folder of the pinned version; subprocess.CalledProcessError, with Maven's words, if it fails."""
    target = jar_folder()
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target.parent)
    # Beside the target, so that the rename at the end is one step: the folder is there whole or not at all.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=_PREFIX) as work:
        jars = Path(work, "jars")
        pom = shutil.copy(POM, work)
        _maven(Path(pom), jars)
        with contextlib.suppress(OSError):
            os.rename(jars, target)  # another process may have been quicker: then its folder is as good
    if not target.exists():
        raise subprocess.CalledProcessError(1, ["mvn"], f"{jars} could not be renamed to {target}")


def _remove_leftovers(cache: Path) -> None:
    # A killed run leaves its folder; one younger than an hour may belong to a run that still goes on.
    for folder in cache.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > 3600:
                shutil.rmtree(folder, ignore_errors=True)


def _maven(pom: Path, jars: Path) -> None:
    # -U: ask again for what was not found the last time.
    command = ["mvn", "--batch-mode", "--quiet", "-U", "-f", str(pom), "dependency:copy-dependencies"]
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
    subprocess.run(
        command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
