"""The Kafka broker's settings files."""

from collections.abc import Mapping
from pathlib import Path

from .certs import Certs

LOG_SETTINGS = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %m (%c{1})%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""

_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


def server_settings(
    data: Path, ports: Mapping[str, int], certs: Certs, auto_create_topics: bool, proxy_port: int
) -> str:
    """The text of server.properties for one node with its data in `data` and a listener on each of `ports`.

    Clients of the listener PROXIED are sent on to `proxy_port`.
    """
    listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
    # TLS clients are told "localhost" and plain ones the number: the certificate holds both.
    hosts = {"PLAINTEXT": "127.0.0.1", "SSL": "localhost", "SASL_SSL": "localhost"}
    advertised = ",".join(f"{name}://{host}:{ports[name]}" for name, host in hosts.items())
    advertised += f",PROXIED://127.0.0.1:{proxy_port}"
    return f"""\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{ports["CONTROLLER"]}
controller.listener.names=CONTROLLER
listeners={listeners}
advertised.listeners={advertised}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
inter.broker.listener.name=PLAINTEXT
log.dirs={data}

ssl.keystore.type=PEM
ssl.keystore.location={certs.server_pem}
ssl.truststore.type=PEM
ssl.truststore.location={certs.ca}
listener.name.ssl.ssl.client.auth=requested
sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={_SCRAM}
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={_SCRAM}

auto.create.topics.enable={str(auto_create_topics).lower()}
num.partitions=2
# One node, so one copy of everything; and few partitions, so that the first consumer need not wait for fifty.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# After a kill the controller refuses the new broker until the old one's session is over; the default is 9 s.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=1000
# The brokers of several test processes are idle most of the time, and should take no processor time then.
metadata.max.idle.interval.ms=0
num.network.threads=1
num.io.threads=4
background.threads=2
"""
