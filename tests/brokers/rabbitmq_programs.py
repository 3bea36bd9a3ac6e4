"""Where RabbitMQ's programs are: in this system, or version 4 in a root of Debian's next release, entered by chroot."""

import os
import subprocess
from pathlib import Path

from .cache import cache_folder, filling

VERSION = "EVBUS_TEST_RABBITMQ"  # an environment variable: 4, or nothing for the version of this system
RELEASE = "trixie"  # has RabbitMQ 4.0 and Erlang 27


def wants_4() -> bool:
    """Whether the tests are to use RabbitMQ 4."""
    value = os.environ.get(VERSION, "")
    if value not in ("", "4"):
        raise ValueError(f"{VERSION} is {value!r}, and may be 4, for RabbitMQ 4, or not set")
    return value == "4"


ROOT = cache_folder() / f"debian-{RELEASE}" if wants_4() else Path("/")
BIN = ROOT / "usr/lib/rabbitmq/bin"  # the plain scripts; those in /usr/sbin insist on the system's rabbitmq user
ERL = ROOT / "usr/bin/erl"
SCRATCH = ROOT / "tmp" if wants_4() else None  # the parent of the brokers' folders: seen in both roots


def service(*command: str) -> list[str]:
    """The command for a program that goes on running; it sees /proc, in a mount of its own that ends with it."""
    return ["unshare", "--mount", f"--root={ROOT}", "--mount-proc", *command] if wants_4() else [*command]


def tool(*command: str) -> list[str]:
    """The command for a program that ends soon."""
    return ["chroot", str(ROOT), *command] if wants_4() else [*command]


def make_root() -> None:
    """Make the root, or subprocess.CalledProcessError with mmdebstrap's words."""
    with filling(ROOT) as made:
        command = ["mmdebstrap", "--variant=minbase", "--include=rabbitmq-server", RELEASE, str(made)]
        subprocess.run(
            command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        # The root is at its own path inside of itself, too, so that paths mean the same on both sides.
        itself = made / ROOT.relative_to("/")
        itself.parent.mkdir(parents=True)
        itself.symlink_to("/")
