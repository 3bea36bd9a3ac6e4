"""Where PostgreSQL's programs are: Debian keeps each release in a folder of its own, outside of PATH."""

import os
import shutil
from pathlib import Path

_RELEASES = Path("/usr/lib/postgresql")
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # Debian has PgBouncer in /usr/sbin


def programs() -> Path | None:
    """The folder of the newest release that has a server, or that of `postgres` in PATH, or None."""
    releases = sorted(_RELEASES.glob("*/bin/postgres"), key=lambda program: float(program.parts[-3]))
    if releases:
        return releases[-1].parent
    found = shutil.which("postgres")
    return Path(found).resolve().parent if found else None


def pgbouncer() -> str | None:
    """Where PgBouncer is, or None."""
    return shutil.which("pgbouncer", path=PATH)


def unprivileged(*command: str) -> list[str]:
    """The command as nobody, if we are root: PostgreSQL and PgBouncer refuse to run as root."""
    if os.geteuid():
        return [*command]
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]
