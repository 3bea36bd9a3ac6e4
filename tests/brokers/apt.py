"""Debian packages, installed without ever starting the services that come with them."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_POLICY = Path("/usr/sbin/policy-rc.d")


class NoApt(Exception):
    """A package cannot be installed; the message says what the reader can do, as the second half of a sentence."""


def apt_install(package: str, how_long: str) -> None:
    """Install one Debian package, saying so on standard output; NoApt if that cannot be done here."""
    if not shutil.which("apt-get"):
        raise NoApt(f"this system has no apt-get: install what Debian calls {package} by your system's own means")
    if os.geteuid() != 0:
        raise NoApt(f"only root can install it: run `sudo apt-get install {package}`")
    print(f"installing {package} with apt-get, {how_long} ...", flush=True)
    with _no_services():
        _apt_get("update")
        _apt_get("install", "-y", "--no-install-recommends", package)


def _apt_get(*arguments: str) -> None:
    settings = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    command = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", *arguments]
    ran = subprocess.run(
        command, env=os.environ | settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if ran.returncode:
        print("\n".join(ran.stdout.splitlines()[-20:]), file=sys.stderr)
        raise NoApt(f"`{' '.join(command)}` failed (its last lines are above): repair that and try again")


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """Forbid packages to start their services, as Debian's invoke-rc.d asks this file whether they may."""
    if _POLICY.exists():  # somebody's own policy is not ours to change
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)
