"""Get the brokers' programs: from Debian with apt-get, and Kafka's jars with Maven."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable

from .apt import NoApt, apt_install
from .kafka_classes import make_class_archive
from .kafka_jars import jar_folder, kafka_version
from .maven import fetch_jars
from .needs import AMQP_URL, JAVA_VERSION, KAFKA_BOOTSTRAP, has_java, has_rabbitmq, in_ci


def install() -> int:
    """Install what is missing; returns the exit code: 1 in CI if something still is, else 0."""
    problems = [problem for problem in _install_each() if problem]
    for problem in problems:
        print(problem if in_ci() else f"{problem} Until then the tests that need it are skipped.", file=sys.stderr)
    return 1 if problems and in_ci() else 0


def _install_each() -> Iterable[str | None]:
    for variable, get in ((AMQP_URL, _get_rabbitmq), (KAFKA_BOOTSTRAP, _get_kafka)):
        if not os.environ.get(variable):  # else that broker runs elsewhere
            yield get()


def _get_rabbitmq() -> str | None:
    """Make sure of RabbitMQ; returns what is wrong if it cannot be had."""
    if has_rabbitmq():
        return None
    try:
        apt_install("rabbitmq-server", "about a minute")
    except NoApt as reason:
        return f"RabbitMQ is missing and {reason}; or set {AMQP_URL} to the address of a running one."
    return None


def _get_kafka() -> str | None:
    """Make sure of Java and Kafka's jars; returns what is wrong if they cannot be had."""
    other = f"or set {KAFKA_BOOTSTRAP} to the host:port of a running one."
    try:
        if not has_java():
            apt_install("default-jre-headless", "about a minute")
        if not has_java():
            return f"Kafka needs Java {JAVA_VERSION} or later and this system's is older: install a newer one, {other}"
        if jar_folder().exists():
            make_class_archive()
            return None
        if not shutil.which("mvn"):
            apt_install("maven", "about a minute")
    except NoApt as reason:
        return f"Kafka's Java or Maven is missing and {reason}; {other}"
    print(f"fetching Kafka {kafka_version()} with Maven (45 MB) into {jar_folder()} ...", flush=True)
    try:
        fetch_jars()
    except subprocess.CalledProcessError as error:
        print(error.stdout, file=sys.stderr)
        return f"Maven could not fetch Kafka {kafka_version()} (what it said is above): try again, {other}"
    make_class_archive()
    return None
