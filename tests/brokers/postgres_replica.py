"""A replica of a PostgreSQL of our own: a copy of its data that follows it, until it is promoted."""

import shlex

from .postgres import PostgreSQL
from .postgres_programs import unprivileged


class Replica(PostgreSQL):
    """Follows a running server; every transaction that this has answered is here too, once `follow` has returned."""

    name = "PostgreSQL-replica"

    def __init__(self, primary: PostgreSQL) -> None:
        super().__init__()
        self._primary = primary

    def command(self) -> list[str]:
        """Copy the data of the primary if that was not done yet, then become the server."""
        copy = [f"{self.bin}/pg_basebackup", "-D", str(self.data), "-d", self._primary.url(), "-R", "-c", "fast"]
        run = [f"{self.bin}/postgres", "-D", str(self.data), "-c", f"port={self.port}"]
        script = f"test -e {self.data}/PG_VERSION || {shlex.join([*copy, '--no-sync'])} || exit; exec {shlex.join(run)}"
        return unprivileged("sh", "-c", script)

    def follow(self) -> None:
        """Start, and let the primary answer commits only when this server has them."""
        self.start()
        following = "select count(*) from pg_stat_replication where state = 'streaming'"
        self._wait_until(lambda: self._primary.sql(following) != "0\n", self.start_seconds, "follow")
        self._primary.reload("synchronous_standby_names = '*'")

    def promote(self) -> None:
        """Become the primary, which does not wait for any other."""
        self.sql("alter system set synchronous_standby_names = ''")
        self.sql("select pg_promote()")
