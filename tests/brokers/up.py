"""Both brokers for a developer, until Ctrl-C."""

import signal
import sys

from .fleet import Fleet, Unavailable
from .kafka import Kafka
from .needs import AMQP_URL, KAFKA_BOOTSTRAP
from .process import BrokerError
from .rabbitmq import RabbitMQ


def up() -> int:
    """Start both brokers, print how to reach them and wait for Ctrl-C; returns the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it ends as Ctrl-C does
    try:
        with Fleet(["rabbitmq", "kafka"]) as fleet:
            print("# starting RabbitMQ and Kafka, about ten seconds ...", flush=True)
            for name in ("rabbitmq", "kafka"):
                print("\n".join(_describe(fleet.get(name))), flush=True)
            print("# both are up; Ctrl-C takes them down", flush=True)
            while True:
                signal.pause()
    except (Unavailable, BrokerError) as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("# taken down", flush=True)
        return 0


def _describe(broker: object) -> list[str]:
    if isinstance(broker, RabbitMQ):
        return [f"export {AMQP_URL}={broker.url}", f"# TLS: {broker.tls_url}", *_certificates(broker)]
    if isinstance(broker, Kafka):
        scram = f"SCRAM-SHA-256 or -512, user {broker.sasl_user}, password {broker.sasl_password}"
        lines = [f"export {KAFKA_BOOTSTRAP}={broker.bootstrap}", f"# TLS: {broker.ssl_bootstrap}"]
        return [*lines, f"# TLS and password: {broker.sasl_bootstrap} ({scram})", *_certificates(broker)]
    return ["# one of the two runs elsewhere, as the environment says"]


def _certificates(broker: RabbitMQ | Kafka) -> list[str]:
    return [f"# CA certificate: {broker.certs.ca}", f"# log: {broker.log}"]
