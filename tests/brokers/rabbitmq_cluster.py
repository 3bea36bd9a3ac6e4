"""A RabbitMQ cluster of our own: three nodes on 127.0.0.1, with ports of their own and one epmd that outlives them."""

import re
import socket
from collections.abc import Iterator, Sequence

from .kafka_cluster import together
from .ports import free_port
from .process import BrokerProcess
from .rabbitmq import RabbitMQ
from .rabbitmq_programs import service

NODES = 3
COOKIE = "EVBUSCLUSTER"


class Epmd(BrokerProcess):
    """Erlang's directory of nodes; one of its own, so that a node may be killed or frozen alone."""

    name = program = "epmd"

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()

    def command(self) -> list[str]:
        """Run in the foreground."""
        return service("epmd", "-address", "127.0.0.1", "-port", str(self.port))

    def ready(self) -> bool:
        """Whether it listens."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True


class RabbitNode(RabbitMQ):
    """One node of a cluster."""

    start_seconds = 300  # three of them start at once, beside other tests

    def __init__(self, epmd: Epmd) -> None:
        super().__init__()
        self._epmd_port = epmd.port
        cookie = self.scratch / ".erlang.cookie"
        cookie.write_text(COOKIE)
        cookie.chmod(0o400)

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"{self.host}:{self.port}"

    @property
    def node(self) -> str:
        """Its name in the cluster."""
        return self._node

    def join(self, nodes: Sequence["RabbitNode"]) -> None:
        """Write the settings, now that all members of the cluster are known."""
        peers = "".join(
            f"\ncluster_formation.classic_config.nodes.{number} = {each.node}" for number, each in enumerate(nodes, 1)
        )
        settings = self.scratch / "rabbitmq.conf"
        settings.write_text(
            settings.read_text()
            + "\ncluster_formation.peer_discovery_backend = classic_config"
            + peers
            + "\ncluster_partition_handling = pause_minority"
            + "\nmnesia_table_loading_retry_timeout = 5000"
        )


class RabbitCluster:
    """Three nodes; a quorum queue has a member on each of them."""

    def __init__(self, nodes: int = NODES) -> None:
        self.nodes: list[RabbitNode] = []
        self._epmd = Epmd()
        try:
            for _ in range(nodes):
                self.nodes.append(RabbitNode(self._epmd))
            for node in self.nodes:
                node.join(self.nodes)
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[RabbitNode]:
        return iter(self.nodes)

    @property
    def hosts(self) -> list[str]:
        """The addresses of all nodes, for `connection.hosts`."""
        return [node.address for node in self.nodes]

    def node_at(self, place: str) -> RabbitNode:
        """The node that a message of the bus names."""
        return next(node for node in self.nodes if re.search(rf"\b{node.port}\b", place))

    def start(self) -> None:
        """Start all nodes and return when they answer and are one cluster; BrokerError if one does not."""
        self._epmd.start()
        together([node.start for node in self.nodes])

    def close(self) -> None:
        """Take all nodes down for good."""
        together([*(node.close for node in self.nodes), self._epmd.close])
