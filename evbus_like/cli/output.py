"""Standard streams that may fail: closed, full, without a reader, ASCII alone. Nothing that prints gets an exception.

A failure is kept, and `ended` reports it and makes the exit code 1. What was going on is not cut short by it: an
`evbus run` whose output is full still delivers its events.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import Any, TextIO

DOCUMENTS = {"--json", "--raw"}


class Stream(io.RawIOBase):
    """Writes to a file descriptor until that fails; from then on it drops everything, and `error` says why."""

    def __init__(self, fd: int, error: OSError | None = None) -> None:
        super().__init__()
        self._fd = fd
        self.error = error

    def write(self, data: Any) -> int:
        """Write bytes, and return how many were taken."""
        while self.error is None:
            try:
                return os.write(self._fd, data)
            except BlockingIOError:  # another program made the terminal non-blocking
                select.select([], [self._fd], [])
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return whether it is a terminal that works."""
        return self.error is None and os.isatty(self._fd)

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._fd


_streams: dict[str, Stream] = {}
_results: TextIO | None = None  # where the command writes a document, apart from what applications print


def results() -> TextIO:
    """Return the stream for the results of the command."""
    return sys.stdout if _results is None else _results


def begin() -> None:
    """Replace sys.stdout and sys.stderr, before anything is printed or opened. Does nothing in another program.

    If standard output is to hold a document, what applications print goes to standard error.
    """
    global _results
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        there = getattr(sys, name)
        if there is None:
            _occupy(fd)
        if fd and name not in _streams and (there is None or _number(there) == fd):
            closed = OSError(errno.EBADF, "it is closed") if there is None else None
            _streams[name] = Stream(fd, closed)
            setattr(sys, name, _text(_streams[name], there, fd == 2))
    if "stdout" in _streams and _results is None and (DOCUMENTS & {*sys.argv} or sys.argv[1:2] == ["schema"]):
        _results, sys.stdout = sys.stdout, sys.stderr


def _occupy(fd: int) -> None:
    """Open /dev/null as a closed standard descriptor: a socket with its number would get what is printed."""
    try:
        os.fstat(fd)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != fd:
            os.dup2(opened, fd)
            os.close(opened)


def _number(stream: Any) -> int:
    try:
        return int(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return -1


def _text(raw: Stream, like: Any, by_lines: bool) -> io.TextIOWrapper:
    """Return a text stream as Python made it, but that escapes what its encoding does not have."""
    errors = getattr(like, "errors", "strict")
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(like, "encoding", None) or "utf-8",
        errors="backslashreplace" if errors in ("strict", "surrogateescape") else errors,
        line_buffering=by_lines or getattr(like, "line_buffering", False) or getattr(like, "write_through", False),
    )


def cannot_be_written() -> bool:
    """Whether standard output cannot be written any more: its reader has exited, as in `| head`, or it is full."""
    return "stdout" in _streams and _streams["stdout"].error is not None


def ended(code: int, command: str = "evbus") -> int:
    """Flush everything, report what could not be written, and return the exit code."""
    for stream in (results(), sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    error = _streams["stdout"].error if cannot_be_written() else None
    if error is None:
        return code
    if error.errno != errno.EPIPE:
        print(f"{command}: standard output cannot be written: {error.strerror}", file=sys.stderr)
    return code or 1
