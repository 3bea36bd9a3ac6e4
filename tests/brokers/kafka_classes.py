"""Kafka's classes as the JVM keeps them in memory, in a file: with it a broker starts in half the time."""

import contextlib
import os
from pathlib import Path

from .kafka import Kafka
from .kafka_jars import class_archive
from .process import BrokerError


class Recorder(Kafka):
    """A Kafka that writes the classes it has used to a file when it stops."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def run_options(self) -> list[str]:
        """Options of the broker's JVM alone."""
        return [f"-XX:ArchiveClassesAtExit={self._file}"]


def make_class_archive() -> None:
    """Make the archive if it is missing; without it brokers start more slowly, so a failure is none."""
    target = class_archive()
    if target.exists():
        return
    print("preparing Kafka's classes, so that it starts sooner, about half a minute ...", flush=True)
    made = target.with_name(f"{target.name}.{os.getpid()}")
    broker = Recorder(made)
    try:
        with contextlib.suppress(BrokerError, OSError):
            broker.start()
            broker.stop()
            os.replace(made, target)  # in one step: brokers that start meanwhile find it whole or not at all
    finally:
        broker.close()
        made.unlink(missing_ok=True)
