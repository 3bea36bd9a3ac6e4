"""A second broker of a Kafka cluster; killing it leaves its partitions without a leader."""

import re
import shlex

from tests.brokers.kafka import Kafka

NODE = 2


class SecondKafka(Kafka):
    """Node 2 of the cluster of `first`, which must be running and remains the only controller."""

    def __init__(self, first: Kafka) -> None:
        super().__init__()
        self._first = first
        settings = self._settings.read_text()
        voters = re.search(r"^controller\.quorum\.voters=.*$", first._settings.read_text(), re.MULTILINE)
        assert voters
        for pattern, replacement in (
            (r"^process\.roles=.*$", "process.roles=broker"),
            (r"^node\.id=.*$", f"node.id={NODE}"),
            (r"^controller\.quorum\.voters=.*$", voters[0]),
            (r",CONTROLLER://[^,\n]*", ""),
        ):
            settings, count = re.subn(pattern, replacement, settings, flags=re.MULTILINE)
            assert count == 1, pattern
        self._settings.write_text(settings)

    def command(self) -> list[str]:
        """Format the data folder for the cluster of the first broker, then run the broker."""
        about = (self._first.scratch / "data/meta.properties").read_text()
        cluster = re.search(r"^cluster\.id=(.*)$", about, re.MULTILINE)
        assert cluster
        java = self.java()
        form = [*java, "kafka.tools.StorageTool", "format", "-t", cluster[1], "-c", str(self._settings)]
        run = [*java, "kafka.Kafka", str(self._settings)]
        return ["sh", "-c", f"test -e data/meta.properties || {shlex.join(form)} || exit; exec {shlex.join(run)}"]
