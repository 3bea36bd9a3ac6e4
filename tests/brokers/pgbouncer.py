"""A PgBouncer of our own before a PostgreSQL of ours, in transaction mode."""

import os
import socket
import subprocess

from .ports import free_port
from .postgres import PostgreSQL
from .postgres_programs import pgbouncer, unprivileged
from .process import BrokerError, BrokerProcess


class PgBouncer(BrokerProcess):
    """A pool of `size` server connections for each database, which one transaction after the other gets."""

    name = "PgBouncer"
    program = "pgbouncer"
    host = "127.0.0.1"

    def __init__(self, server: PostgreSQL, size: int = 4) -> None:
        super().__init__()
        self.server, self.port = server, free_port()
        (self.scratch / "users.txt").write_text('"postgres" ""\n')
        (self.scratch / "pgbouncer.ini").write_text(
            f"""[databases]
* = host={server.host} port={server.port} user=postgres
[pgbouncer]
listen_addr = {self.host}
listen_port = {self.port}
unix_socket_dir =
auth_type = any
auth_file = {self.scratch / "users.txt"}
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 500
"""
        )
        self.scratch.chmod(0o755)

    def command(self) -> list[str]:
        """The program, which stays in the foreground."""
        return unprivileged(str(pgbouncer()), str(self.scratch / "pgbouncer.ini"))

    def environment(self) -> dict[str, str]:
        """Nothing of what libpq would take from the user's environment."""
        return {name: value for name, value in os.environ.items() if not name.startswith("PG")}

    def ready(self) -> bool:
        """Whether it answers a query with the server's answer."""
        try:
            socket.create_connection((self.host, self.port), timeout=5).close()
            command = [f"{self.server.bin}/psql", "-X", "-q", "-A", "-t", "-d", self.url("postgres"), "-c", "select 1"]
            ran = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired, BrokerError):
            return False
        return ran.stdout.strip() == "1"

    def url(self, database: str) -> str:
        """The address of a database through this PgBouncer."""
        return f"postgresql://postgres@{self.host}:{self.port}/{database}"
