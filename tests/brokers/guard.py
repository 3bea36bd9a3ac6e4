"""A small process that runs one broker and takes it down when the process that asked for it is gone.

It reads one command a line on its standard input and answers each with one line. The end of its input means that the
parent is gone, however it went (a normal end, Ctrl-C, SIGTERM, SIGKILL): then everything is killed, the scratch folder
is removed and the guard exits. Run as `python guard.py SCRATCH PROGRAM`, where PROGRAM is the name of the process that
is the broker itself, among the shells and helpers around it.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SIGNALS = {"term": signal.SIGTERM, "pause": signal.SIGSTOP, "resume": signal.SIGCONT}


def descendants() -> dict[int, str]:
    """The living processes below this one, as {pid: program name}."""
    below: dict[int, list[tuple[int, str]]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, tail = stat.read_text(errors="replace").rsplit(")", 1)
        except OSError:  # it ended while we looked
            continue
        state, parent = tail.split()[:2]
        if state not in "ZX":
            number, program = head.split(" (", 1)
            below.setdefault(int(parent), []).append((int(number), program))
    found: dict[int, str] = {}
    parents = [os.getpid()]
    while parents:
        for pid, name in below.get(parents.pop(), []):
            found[pid] = name
            parents.append(pid)
    return found


def is_there(child: int) -> bool:
    """Whether a child of this process lives; asked ten times a second while a broker starts, so without a search."""
    try:
        stat = Path(f"/proc/{child}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"  # one that was killed may take a while to be gone


def reap() -> None:
    """Collect the children that have ended, adopted ones too."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def send(number: int, program: str | None = None) -> int:
    """Signal every process below (or those with this program name); returns how many there were."""
    sent = 0
    for pid, name in descendants().items():
        if program in (None, name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
                sent += 1
    return sent


def kill_all() -> None:
    """SIGKILL everything below, until nothing is left."""
    while send(signal.SIGKILL):
        reap()
        time.sleep(0.01)
    reap()


def run(settings: str, scratch: str) -> subprocess.Popen[bytes]:
    """Start the broker from JSON settings: its command, environment and log file."""
    wanted = json.loads(settings)
    with open(wanted["log"], "ab") as log:
        return subprocess.Popen(
            wanted["command"],
            env=wanted["env"],
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ignored signals are inherited, and a broker that ignores SIGTERM could not be asked to stop.
            preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in IGNORED] and None,
        )


def serve(scratch: str, program: str) -> None:
    """Answer the parent's commands until its end of the pipe closes."""
    broker = None
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        answer = "ok"
        if word == "start":
            broker = run(rest, scratch)
        elif word == "kill":
            kill_all()
        elif word == "running":
            answer = "yes" if broker and is_there(broker.pid) else "no"
        elif word == "pid":
            answer = str(next((pid for pid, name in descendants().items() if name == program), 0))
        else:
            answer = str(send(SIGNALS[word], program))
        print(answer, flush=True)


def main() -> None:
    """Serve, and clean up whatever happens."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)  # our parent decides when this ends, by closing the pipe
    signal.signal(signal.SIGCHLD, lambda *_: reap())
    # Daemons that a broker leaves behind (Erlang's epmd) become our children, so that they can be found and killed.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        serve(*sys.argv[1:])
    finally:
        kill_all()
        shutil.rmtree(sys.argv[1], ignore_errors=True)


if __name__ == "__main__":
    main()
