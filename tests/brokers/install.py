"""Get what tests need: brokers and small programs from Debian with apt-get, and Kafka's jars with Maven."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from .apt import NoApt, apt_install
from .kafka_classes import make_class_archive
from .kafka_jars import jar_folder, kafka_version
from .maven import fetch_jars
from .needs import AMQP_URL, JAVA_VERSION, KAFKA_BOOTSTRAP, has_java, has_rabbitmq, in_ci
from .postgres_programs import PATH, programs
from .rabbitmq_programs import RELEASE, ROOT, make_root, wants_4

PROGRAMS = {  # and the packages that they are in
    "promtool": "prometheus",
    "zsh": "zsh",
    "fish": "fish",
    "chromium": "chromium",
    "pgbouncer": "pgbouncer",
    "node": "nodejs",
    "npm": "npm",
}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def install() -> int:
    """Install what is missing; returns the exit code: 1 in CI, or for RabbitMQ 4, if something still is, else 0."""
    problems, strict = [problem for problem in _install_each() if problem], in_ci() or wants_4()
    for problem in problems:
        print(problem if strict else f"{problem} Until then the tests that need it are skipped.", file=sys.stderr)
    return 1 if problems and strict else 0


def _install_each() -> Iterable[str | None]:
    for variable, get in ((AMQP_URL, _get_rabbitmq), (KAFKA_BOOTSTRAP, _get_kafka)):
        if not os.environ.get(variable):  # else that broker runs elsewhere
            yield get()
    if programs() is None:
        yield _get_program("PostgreSQL", "postgresql")
    for program, package in PROGRAMS.items():
        if not shutil.which(program, path=PATH):
            yield _get_program(program, package)


def _get_program(program: str, package: str) -> str | None:
    """Install a program; returns what is wrong if it cannot be had."""
    try:
        apt_install(package, "some seconds")
    except NoApt as reason:
        return f"{program} is missing and {reason}."
    return None


def _get_rabbitmq() -> str | None:
    """Make sure of RabbitMQ; returns what is wrong if it cannot be had."""
    if wants_4() and os.geteuid() != 0:
        return "RabbitMQ 4 runs in a root of its own, which only root can make and enter: try again with sudo."
    if has_rabbitmq():
        return None
    if wants_4():
        return _get_rabbitmq_4()
    try:
        apt_install("rabbitmq-server", "about a minute")
    except NoApt as reason:
        return f"RabbitMQ is missing and {reason}; or set {AMQP_URL} to the address of a running one."
    return None


def _get_rabbitmq_4() -> str | None:
    """Make a root of Debian's next release, which has RabbitMQ 4; returns what is wrong if it cannot be made."""
    try:
        if not shutil.which("mmdebstrap"):
            apt_install("mmdebstrap", "some seconds")
        if not KEYRING.exists():
            apt_install("debian-archive-keyring", "some seconds")
    except NoApt as reason:
        return f"RabbitMQ 4 is missing, and to make a root for it {reason}."
    print(f"making a root of Debian {RELEASE} with RabbitMQ 4 (240 MB) in {ROOT}, half a minute ...", flush=True)
    try:
        make_root()
    except subprocess.CalledProcessError as error:
        print(error.stdout, file=sys.stderr)
        return f"mmdebstrap could not make a root of Debian {RELEASE} (what it said is above): try again."
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
