"""A broker as a process: what RabbitMQ and Kafka have in common."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .certs import Certs, make_certs

GUARD = Path(__file__).with_name("guard.py")


class BrokerError(Exception):
    """A broker did not do what was asked of it; the message holds the end of its log."""


class BrokerProcess:
    """One broker under a guard process, in a scratch folder that is removed with it.

    The verbs may be called in any order; ports and data stay the same until `close`.
    """

    name = "broker"
    program = ""  # the broker's own process among those that its start script leaves
    start_seconds = 300  # a machine with other work; alone it takes five
    stop_seconds = 60
    scratch_parent: Path | None = None  # the system's folder for temporary files

    def __init__(self) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix=f"evbus-{self.name.lower()}-", dir=self.scratch_parent))
        self.log = self.scratch / "broker.log"
        # The guard comes before everything else: from here on the folder is removed however we end.
        self._guard = subprocess.Popen(
            [sys.executable, "-S", str(GUARD), str(self.scratch), self.program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C in a terminal goes to the tests alone
        )
        self.certs: Certs = make_certs(self.scratch / "certs")

    def command(self) -> list[str]:
        """The command that runs the broker in the foreground."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """All of the broker's environment variables."""
        return dict(os.environ)

    def ready(self) -> bool:
        """Whether the broker answers on its port."""
        raise NotImplementedError

    def needs_tls(self) -> Certs:
        """The certificates; on a broker that isn't ours this skips the test."""
        return self.certs

    def start(self) -> None:
        """Start the broker and return when it answers; BrokerError if it doesn't within `start_seconds`."""
        if self._tell("running") == "no":
            self._tell("kill")  # what a crash left over
            settings = {"command": self.command(), "env": self.environment(), "log": str(self.log)}
            self._tell("start " + json.dumps(settings))
        self._wait_until(self.ready, self.start_seconds, "start")

    def stop(self) -> None:
        """End the broker as its operator would; BrokerError if it takes longer than `stop_seconds`."""
        self._tell("resume")
        self._tell("term")
        self._wait_until(lambda: self._tell("pid") == "0", self.stop_seconds, "stop")
        self._tell("kill")  # what is left: helpers such as epmd

    def kill(self) -> None:
        """SIGKILL the whole broker: nothing is written any more, connections break."""
        self._tell("kill")

    def restart(self) -> None:
        """Stop and start, with the same ports and data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the broker: connections stay open and nothing is answered until `resume`."""
        self._tell("pause")

    def resume(self) -> None:
        """Let a paused broker go on."""
        self._tell("resume")

    def close(self) -> None:
        """Take the broker down for good and remove its scratch folder; may be called from another thread."""
        guard = self._guard
        assert guard.stdin
        assert guard.stdout
        guard.stdin.close()  # the guard does the rest, the same as if we had died
        guard.wait()
        guard.stdout.close()

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of the broker's log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"

    def _tell(self, command: str) -> str:
        assert self._guard.stdin
        assert self._guard.stdout
        try:
            self._guard.stdin.write(command + "\n")
            self._guard.stdin.flush()
            answer = self._guard.stdout.readline().strip()
        except (OSError, ValueError):  # the pipe is broken or closed
            answer = ""
        if not answer:
            raise BrokerError(f"{self.name} was closed, or its guard process is gone")
        return answer

    def _wait_until(self, done: Callable[[], bool], seconds: float, verb: str) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            ended = verb == "start" and self._tell("running") == "no"
            if ended or time.monotonic() > deadline:
                why = "it ended by itself" if ended else f"not within {seconds:.0f} s"
                raise BrokerError(f"{self.name} did not {verb}: {why}. The end of its log:\n{self.log_tail()}")
            time.sleep(0.1)
