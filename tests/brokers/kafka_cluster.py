"""A Kafka cluster of our own (KRaft): brokers, each at an address of its own, and controllers among them."""

import base64
import shlex
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence

from .kafka import Kafka
from .ports import free_port

BROKERS = 3
# Three of them share a small machine: heaps as small as a broker with a few topics takes.
SMALL_HEAP = ["-Xms64m", "-Xmx160m", "-XX:MaxMetaspaceSize=96m"]


class KafkaNode(Kafka):
    """Broker `node` of a cluster, at 127.0.0.`node` over plain TCP, in the rack `rack-{node}`."""

    start_seconds = 300  # three of them start at once, and wait for each other

    def __init__(self, node: int, cluster: str) -> None:
        super().__init__()
        self.node, self._cluster = node, cluster
        self.host, self.rack = f"127.0.0.{node}", f"rack-{node}"
        self.port, self.controller_port = free_port(self.host), free_port(self.host)
        self.bootstrap = f"{self.host}:{self.port}"

    def join(self, nodes: Sequence["KafkaNode"], controllers: int) -> None:
        """Write the settings, now that all members of the cluster are known; the first of them are controllers."""
        voters = ",".join(f"{each.node}@{each.host}:{each.controller_port}" for each in nodes[:controllers])
        roles, listeners = "broker", f"PLAINTEXT://{self.bootstrap}"
        if self.node <= controllers:
            roles, listeners = "broker,controller", f"{listeners},CONTROLLER://{self.host}:{self.controller_port}"
        # The last value of a setting counts.
        self._settings.write_text(
            self._settings.read_text()
            + f"""
node.id={self.node}
process.roles={roles}
broker.rack={self.rack}
controller.quorum.voters={voters}
listeners={listeners}
advertised.listeners=PLAINTEXT://{self.bootstrap}
auto.create.topics.enable=false
default.replication.factor={len(nodes)}
min.insync.replicas=2
offsets.topic.replication.factor={len(nodes)}
# A busy machine is no failure: no new controller, and no broker counted out, because of a pause of three seconds.
controller.quorum.fetch.timeout.ms=6000
controller.quorum.election.timeout.ms=2000
broker.session.timeout.ms=4000
log.cleaner.dedupe.buffer.size=4194304
replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector
"""
        )

    def command(self) -> list[str]:
        """Format the data folder for the cluster if that was not done yet, then become the broker."""
        java = [*self.java(), *SMALL_HEAP]
        form = [*java, "kafka.tools.StorageTool", "format", "-t", self._cluster, "-c", str(self._settings)]
        run = [*java, "kafka.Kafka", str(self._settings)]
        return ["sh", "-c", f"test -e data/meta.properties || {shlex.join(form)} || exit; exec {shlex.join(run)}"]


class KafkaCluster:
    """Three brokers; a topic has a replica on each of them and needs two in sync, unless it says otherwise.

    With one controller, the first broker, the failure of another one costs no election of a new controller.
    """

    def __init__(self, brokers: int = BROKERS, controllers: int = BROKERS) -> None:
        name = base64.urlsafe_b64encode(b"evbus" + uuid.uuid4().bytes[:11]).decode().rstrip("=")
        self.nodes: list[KafkaNode] = []
        try:
            for number in range(1, brokers + 1):
                self.nodes.append(KafkaNode(number, name))
            for node in self.nodes:
                node.join(self.nodes, controllers)
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[KafkaNode]:
        return iter(self.nodes)

    @property
    def bootstrap(self) -> list[str]:
        """The addresses of all brokers."""
        return [node.bootstrap for node in self.nodes]

    def node(self, number: int) -> KafkaNode:
        """The broker with this number, from 1."""
        return self.nodes[number - 1]

    def start(self) -> None:
        """Start all brokers and return when they answer; BrokerError if one does not."""
        together([node.start for node in self.nodes])

    def close(self) -> None:
        """Take all brokers down for good."""
        for node in self.nodes:
            node.close()


def together(actions: Sequence[Callable[[], None]]) -> None:
    """Run functions side by side, and raise the first exception of one at the end."""
    problems: list[Exception] = []

    def run(action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=run, args=(action,), daemon=True) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
