"""A Kafka of our own: one node that is broker and controller (KRaft), on free ports."""

import base64
import shlex
import socket
import struct
import uuid

from .kafka_jars import class_archive, jar_folder
from .kafka_settings import LOG_SETTINGS, server_settings
from .ports import free_port
from .process import BrokerProcess

# Quick to start rather than quick to run.
JVM = ["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Djava.awt.headless=true"]


class Kafka(BrokerProcess):
    """A broker on 127.0.0.1, over plain TCP, TLS, and TLS with SCRAM.

    `auto_create_topics` says whether a topic comes into being when it is first named. Clients that connect to
    `proxied_port` are told to go on at `proxy_port`, where a test may put a proxy that leads back to `proxied_port`.
    """

    name = "Kafka"
    program = "java"

    def __init__(self, *, auto_create_topics: bool = True) -> None:
        super().__init__()
        self.host = "127.0.0.1"
        self.port, ssl_port, sasl_port, controller_port = (free_port() for _ in range(4))
        self.proxied_port, self.proxy_port = free_port(), free_port()
        self.bootstrap = f"{self.host}:{self.port}"
        self.ssl_bootstrap = f"localhost:{ssl_port}"
        self.sasl_bootstrap = f"localhost:{sasl_port}"
        self.sasl_user, self.sasl_password = "evbus", uuid.uuid4().hex
        ports = {
            "PLAINTEXT": self.port,
            "SSL": ssl_port,
            "SASL_SSL": sasl_port,
            "PROXIED": self.proxied_port,
            "CONTROLLER": controller_port,
        }
        self._settings = self.scratch / "server.properties"
        data = self.scratch / "data"
        self._settings.write_text(server_settings(data, ports, self.certs, auto_create_topics, self.proxy_port))
        (self.scratch / "log4j2.properties").write_text(LOG_SETTINGS)

    def command(self) -> list[str]:
        """Format the data folder if that was not done yet, then become the broker."""
        java = self.java()
        cluster = base64.urlsafe_b64encode(b"evbus" + uuid.uuid4().bytes[:11]).decode().rstrip("=")
        form = [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._settings)]
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
            form += ["--add-scram", f"{mechanism}=[name={self.sasl_user},password={self.sasl_password}]"]
        run = [*java, *self.run_options(), "kafka.Kafka", str(self._settings)]
        script = f"test -e data/meta.properties || {shlex.join(form)} || exit; exec {shlex.join(run)}"
        return ["sh", "-c", script]

    def java(self) -> list[str]:
        """The command that runs a class of Kafka."""
        classes = [f"-XX:SharedArchiveFile={class_archive()}"] if class_archive().exists() else []
        logging = f"-Dlog4j2.configurationFile={self.scratch / 'log4j2.properties'}"
        return ["java", *JVM, *classes, logging, "-cp", f"{jar_folder()}/*"]

    def run_options(self) -> list[str]:
        """Options of the broker's JVM alone."""
        return []

    def ready(self) -> bool:
        """Whether the broker answers an ApiVersions request."""
        body = struct.pack(">hhih", 18, 0, 1, -1)  # ApiVersions, version 0, correlation id 1, no client id
        try:
            with socket.create_connection((self.host, self.port), timeout=5) as sock:
                sock.sendall(struct.pack(">i", len(body)) + body)
                answer = sock.recv(10, socket.MSG_WAITALL)
        except OSError:
            return False
        return len(answer) == 10 and struct.unpack(">iih", answer)[1:] == (1, 0)
