"""What has to be on the machine before a broker can be started, and in one sentence what to do about it."""

import os
import re
import shutil
import subprocess

from .kafka_jars import jar_folder
from .postgres_programs import pgbouncer, programs
from .rabbitmq_programs import BIN, VERSION, wants_4

AMQP_URL = "EVBUS_TEST_AMQP_URL"
KAFKA_BOOTSTRAP = "EVBUS_TEST_KAFKA"
JAVA_VERSION = 17

_INSTALL = "run `python -m tests.brokers install`"


def in_ci() -> bool:
    """Whether this is a CI run, where a test that cannot run is a failure."""
    return os.environ.get("CI", "").lower() == "true"


def rabbitmq_missing() -> str | None:
    """Why RabbitMQ cannot be started here, or None if it can."""
    if wants_4():
        problem = "needs root" if os.geteuid() else None if has_rabbitmq() else "is not installed"
        return problem and f"RabbitMQ 4 {problem}: {_INSTALL} as root, with {VERSION}=4."
    if not has_rabbitmq():
        return f"RabbitMQ is not installed: {_INSTALL}, or set {AMQP_URL} to the address of a running one."
    return None


def kafka_missing() -> str | None:
    """Why Kafka cannot be started here, or None if it can."""
    other = f"or set {KAFKA_BOOTSTRAP} to the host:port of a running one."
    if not has_java():
        return f"Kafka needs Java {JAVA_VERSION} or later: {_INSTALL}, {other}"
    if not jar_folder().exists():
        return f"Kafka is not in {jar_folder()}: {_INSTALL}, {other}"
    return None


def postgres_missing() -> str | None:
    """Why PostgreSQL and PgBouncer cannot be started here, or None if they can."""
    if programs() is None:
        return f"PostgreSQL is not installed: {_INSTALL}."
    if pgbouncer() is None:
        return f"PgBouncer is not installed: {_INSTALL}."
    return None


def promtool() -> str | None:
    """Where Prometheus' promtool is, or None."""
    return shutil.which("promtool")


def promtool_missing() -> str:
    """What to do where there is no promtool."""
    return f"promtool is not installed: {_INSTALL}."


def chromium() -> str | None:
    """Where Chromium is, or None."""
    return shutil.which("chromium")


def chromium_missing() -> str:
    """What to do where there is no Chromium."""
    return f"Chromium is not installed: {_INSTALL}."


def has_rabbitmq() -> bool:
    """Whether Debian's RabbitMQ is installed, in the version that is wanted."""
    return (BIN / "rabbitmq-server").exists()


def has_java() -> bool:
    """Whether `java` is there and new enough for Kafka."""
    if not shutil.which("java"):
        return False
    ran = subprocess.run(["java", "-version"], capture_output=True, text=True)
    version = re.search(r'version "(\d+)', ran.stderr)
    return version is not None and int(version[1]) >= JAVA_VERSION
