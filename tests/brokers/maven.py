"""Kafka's jars from Maven Central, by Maven itself."""

import shutil
import subprocess
from pathlib import Path

from .cache import filling
from .kafka_jars import POM, jar_folder


def fetch_jars() -> None:
    """Fill the cache folder of the pinned version; subprocess.CalledProcessError, with Maven's words, if it fails."""
    target = jar_folder()
    with filling(target) as jars:
        _maven(Path(shutil.copy(POM, jars.parent)), jars)
    if not target.exists():
        raise subprocess.CalledProcessError(1, ["mvn"], f"{jars} could not be renamed to {target}")


def _maven(pom: Path, jars: Path) -> None:
    # -U: ask again for what was not found the last time.
    command = ["mvn", "--batch-mode", "--quiet", "-U", "-f", str(pom), "dependency:copy-dependencies"]
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
    subprocess.run(
        command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
