"""A RabbitMQ of our own: Debian's program, but our ports, data, settings and epmd."""

import base64
import json
import os
import socket
import subprocess
from contextlib import suppress

from .erlang_modules import PLUGIN, quick_start
from .ports import free_port
from .process import BrokerError, BrokerProcess
from .rabbitmq_programs import BIN, SCRATCH, service, tool


class RabbitMQ(BrokerProcess):
    """A broker on 127.0.0.1 with the user guest, over plain TCP and TLS."""

    name = "RabbitMQ"
    program = "beam.smp"
    host = "127.0.0.1"
    scratch_parent = SCRATCH
    plugins = PLUGIN  # a list as Erlang writes it, without its brackets

    def __init__(self) -> None:
        super().__init__()
        self.port, self.tls_port = free_port(), free_port()
        self._dist_port, self._epmd_port = free_port(), free_port()
        self._node = f"evbus{self.port}@localhost"
        self.url = f"amqp://guest:guest@{self.host}:{self.port}/"
        self.tls_url = f"amqps://guest:guest@localhost:{self.tls_port}/"
        self._write_settings()
        self._quick_start = quick_start(self.scratch)

    def command(self) -> list[str]:
        """The start script, which stays in the foreground."""
        return service(str(BIN / "rabbitmq-server"))

    def environment(self) -> dict[str, str]:
        """Everything that the scripts would otherwise take from the system's installation."""
        local = "-kernel inet_dist_use_interface {127,0,0,1}"
        # Idle schedulers sleep at once: test processes that run side by side need the cores.
        idle = "+sbwt none +sbwtdcpu none +sbwtdio none"
        own = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        own |= self._quick_start
        return own | {
            "HOME": str(self.scratch),  # where the Erlang cookie is made
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{idle} {local}",
            # The command line tool must not leave an epmd behind: it would be nobody's child.
            "RABBITMQ_CTL_ERL_ARGS": f"{idle} {local} -start_epmd false",
            "RABBITMQ_CONF_ENV_FILE": str(self.scratch / "none.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.scratch / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.scratch / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.scratch / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.scratch / "data"),
            "RABBITMQ_LOG_BASE": str(self.scratch / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(self.scratch / "pid"),
        }

    def ready(self) -> bool:
        """Whether the broker answers an AMQP greeting."""
        try:
            with socket.create_connection((self.host, self.port), timeout=5) as sock:
                sock.sendall(b"AMQP\x00\x00\x09\x01")
                return sock.recv(1) == b"\x01"  # a method frame: Connection.Start
        except OSError:
            return False

    def ctl(self, *arguments: str, seconds: float = 300) -> str:
        """Run rabbitmqctl against this node and return what it printed; BrokerError if it failed.

        It takes a second or two of a core, and much longer beside other work.
        """
        command = tool(str(BIN / "rabbitmqctl"), "--quiet", *arguments)
        ran = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=seconds)
        if ran.returncode:
            raise BrokerError(f"rabbitmqctl {' '.join(arguments)} failed: {ran.stderr.strip() or ran.stdout.strip()}")
        return ran.stdout

    def kill(self) -> None:
        """SIGKILL the broker once its queues are on the disk: a new one is in memory alone for two seconds.

        A quorum queue, too: its member's vote is in a table that is written now and then, and without it the queue
        never has a leader again.
        """
        # Messages are not helped by this: a persistent one is on the disk when it is confirmed.
        with suppress(BrokerError, subprocess.TimeoutExpired):  # it is frozen, or gone already
            self.evaluate("mnesia:dump_log(), [dets:sync(Table) || Table <- dets:all()].", seconds=10)
        super().kill()

    def queues(self, *counts: str) -> dict[str, dict[str, int]]:
        """Each queue's counts, such as "messages" or "consumers": quick enough to be asked again and again."""
        items = ", ".join(["name", *counts])
        pairs = "{element(4, Name), maps:from_list(Counts)}"
        each = f'[{{name, Name}} | Counts] <- rabbit_amqqueue:info_all(<<"/">>, [{items}])'
        code = f"base64:encode_to_string(rabbit_json:encode(maps:from_list([{pairs} || {each}])))."
        answer = self.evaluate(code)
        found: dict[str, dict[str, int]] = json.loads(base64.b64decode(answer.strip('"')))
        # RabbitMQ 4 gives an empty text for what a queue that is being declared or deleted does not know.
        return {name: {count: number or 0 for count, number in counts.items()} for name, counts in found.items()}

    def evaluate(self, expression: str, seconds: float = 20) -> str:
        """Evaluate an Erlang expression in the broker and give the result as it prints; BrokerError if that fails."""
        # Erlang's own small client: 10 ms, where rabbitmqctl takes more than a second of a core.
        try:
            cookie = (self.scratch / ".erlang.cookie").read_text()
        except FileNotFoundError as error:
            raise BrokerError("the broker was never started") from error
        command = tool("erl_call", "-sname", self._node, "-c", cookie, "-e")
        environment = self.environment()
        for _ in range(3):  # on a busy machine the node's epmd may not answer in time
            ran = subprocess.run(
                command, env=environment, input=expression + "\n", capture_output=True, text=True, timeout=seconds
            )
            if "failed to connect" not in ran.stderr or not self.ready():
                break
        if ran.returncode or not ran.stdout.startswith("{ok,"):
            raise BrokerError(f"erl_call failed: {ran.stderr.strip() or ran.stdout.strip()}")
        return ran.stdout.strip().removeprefix("{ok,").removesuffix("}").strip()

    def _write_settings(self) -> None:
        settings = f"""
            listeners.tcp.1 = 127.0.0.1:{self.port}
            listeners.ssl.1 = 127.0.0.1:{self.tls_port}
            ssl_options.cacertfile = {self.certs.ca}
            ssl_options.certfile = {self.certs.server_cert}
            ssl_options.keyfile = {self.certs.server_key}
            ssl_options.verify = verify_peer
            ssl_options.fail_if_no_peer_cert = false
            log.console.level = info
            disk_free_limit.absolute = 50MB
        """
        (self.scratch / "rabbitmq.conf").write_text("\n".join(line.strip() for line in settings.splitlines()))
        (self.scratch / "advanced.config").write_text("[].\n")
        (self.scratch / "enabled_plugins").write_text(f"[{self.plugins}].\n")
        (self.scratch / "none.conf").write_text("")
