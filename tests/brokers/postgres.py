"""A PostgreSQL of our own: Debian's program, but our port, data and settings."""

import os
import re
import shlex
import shutil
import subprocess
import uuid

from .ports import free_port
from .postgres_programs import programs, unprivileged
from .process import BrokerError, BrokerProcess

SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_buffers = 128MB
max_connections = 200
max_wal_size = 1GB
log_min_messages = warning
timezone = UTC
"""


class PostgreSQL(BrokerProcess):
    """A server on 127.0.0.1 with the superuser "postgres" and no passwords; durable, as PostgreSQL is by itself."""

    name = "PostgreSQL"
    program = "postgres"
    host = "127.0.0.1"

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()
        self.data = self.scratch / "data"
        self.bin = programs()
        (self.scratch / "ours.conf").write_text(f"{SETTINGS}port = {self.port}\n")
        if os.geteuid() == 0:
            self.scratch.chmod(0o755)
            (self.scratch / "home").mkdir()
            shutil.chown(self.scratch / "home", "nobody", "nogroup")
            self.data = self.scratch / "home" / "data"

    def command(self) -> list[str]:
        """Make the data folder if that was not done yet, then become the server."""
        init = [f"{self.bin}/initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        init += ["--locale=C", "--no-sync"]
        included = f"include '{self.scratch / 'ours.conf'}'"
        run = [f"{self.bin}/postgres", "-D", str(self.data)]
        script = (
            f"test -e {self.data}/PG_VERSION || {{ {shlex.join(init)}"
            f" && echo {shlex.quote(included)} >> {self.data}/postgresql.conf; }} || exit; exec {shlex.join(run)}"
        )
        return unprivileged("sh", "-c", script)

    def environment(self) -> dict[str, str]:
        """Nothing of what libpq would take from the user's environment."""
        return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}

    def ready(self) -> bool:
        """Whether the server answers a query."""
        try:
            return self.sql("select 1", seconds=5).strip() == "1"
        except (BrokerError, subprocess.TimeoutExpired):
            return False

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """The address of a database, as libpq, psycopg and asyncpg take it."""
        return f"postgresql://{user}@{self.host}:{self.port}/{database}"

    def sql(self, statements: str, database: str = "postgres", seconds: float = 60) -> str:
        """Run SQL with psql and return what it printed, columns separated by "|"; BrokerError if it failed."""
        command = [f"{self.bin}/psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.url(database)]
        ran = subprocess.run(
            command, input=statements, env=self.environment(), capture_output=True, text=True, timeout=seconds
        )
        if ran.returncode:
            raise BrokerError(f"psql failed: {ran.stderr.strip() or ran.stdout.strip()}")
        return ran.stdout

    def database(self) -> str:
        """Create an empty database and return its name."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.sql(f"create database {name}")
        return name

    def stop(self) -> None:
        """End the server at once, clients or not, as `pg_ctl stop -m fast` does."""
        self._tell("resume")
        if pid := self._main():
            subprocess.run(unprivileged("kill", "-INT", str(pid)), check=False)
        self._wait_until(lambda: self._tell("pid") == "0", self.stop_seconds, "stop")
        self._tell("kill")

    def reload(self, settings: str = "") -> None:
        """Add lines to the settings and make the running server read them."""
        with open(self.scratch / "ours.conf", "a") as file:
            file.write(settings + "\n")
        self.sql("select pg_reload_conf()")

    def _main(self) -> int:
        try:
            first = (self.data / "postmaster.pid").read_text().splitlines()[0]
        except (OSError, IndexError):
            return 0
        return int(first) if re.fullmatch(r"\d+", first) else 0
