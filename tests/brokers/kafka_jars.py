"""Where the Kafka broker's jars are: a cache folder that `install` fills once for a version."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from .cache import cache_folder

POM = Path(__file__).with_name("kafka-pom.xml")


def kafka_version() -> str:
    """The pinned version of the Kafka broker."""
    version = ElementTree.parse(POM).findtext(".//{*}kafka.version")
    assert version, f"{POM} names no kafka.version"
    return version


def jar_folder() -> Path:
    """The folder with every jar of the broker; it exists only when it is complete."""
    return cache_folder() / f"kafka-{kafka_version()}"


def class_archive() -> Path:
    """Where the broker's classes are kept ready; a JVM ignores the file of another version."""
    return jar_folder() / "classes.jsa"
