"""The log of the command: time and level on each line, as text or as JSON, without noise and without repetition."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

from evbus_like.cli import shown
from evbus_like.cli.errors import UsageError
from evbus_like.cli.repeats import Repeats
from evbus_like.engine import handling, suggest
from evbus_like.hub.profiles import settings
from evbus_like.processes import worker

FORMATS = ("text", "json")
CLIENTS = ("aio_pika", "aiormq", "aiokafka")
LEVELS = {"trace": 5, "debug": 10, "info": 20, "warning": 30, "warn": 30, "error": 40, "critical": 50, "quiet": 100}
FIELDS = ("event_id", "routing_key", "profile", "destination", "handler", "trace_id")  # of a record, where it has them
OWN_FILE = "evbus.log"  # pop-config's default, which nobody asked for


def set_up(hub: Any, stderr: Console) -> None:
    """Log to stderr, and as pop-config does where the user chose a file or a log plugin; raises UsageError."""
    options = hub.OPT.pop_config
    wanted = str(settings.config(hub, "log_format", "text"))
    if wanted not in FORMATS:
        raise UsageError(f"setting log_format must be {' or '.join(FORMATS)}, not {suggest.shown(wanted)}")
    repeats = Repeats()
    level, root, before = (
        _level(str(options.log_level).strip().lower()),
        logging.getLogger(),
        set(logging.root.handlers),
    )
    if options.log_plugin != "basic":
        hub.log[options.log_plugin].setup(options)
    else:
        root.addHandler(_console(stderr, wanted))
        if options.log_file != OWN_FILE:
            root.addHandler(_file(hub, options))
        root.setLevel(level)
    for handler in root.handlers:
        if handler not in before:
            handler.addFilter(worth_showing)
            handler.addFilter(with_fields)
            handler.addFilter(repeats)
            if wanted == "json":
                handler.setFormatter(JsonFormatter())
            elif isinstance(handler, (logging.StreamHandler, RichHandler)):
                handler.setFormatter(VisibleFormatter(handler))


def _console(stderr: Console, wanted: str) -> logging.Handler:
    who = f"worker {worker.THIS.number}: " if worker.THIS is not None else ""
    if stderr.is_terminal and wanted == "text":
        made = RichHandler(
            console=stderr, show_path=False, markup=False, log_time_format="%H:%M:%S", omit_repeated_times=False
        )
        made.setFormatter(logging.Formatter(f"{who}%(message)s"))
        return made
    handler = logging.StreamHandler()
    handler.setFormatter(TextFormatter(f"%(asctime)s %(levelname)s: {who}%(message)s"))
    return handler


def _file(hub: Any, options: Any) -> logging.Handler:
    _, more = hub.render.cli.args(options.log_handler_options)
    handler = logging.FileHandler(filename=options.log_file, delay=True, **more)
    handler.setFormatter(logging.Formatter(options.log_fmt_logfile, options.log_datefmt))
    return handler


def _level(text: str) -> int:
    """Return the number of a log level; raises UsageError."""
    if text.isascii() and text.isdecimal() and len(text) < 9:
        return int(text)
    if text not in LEVELS:
        raise UsageError(
            f"the log level must be one of {', '.join(LEVELS)}, not {suggest.shown(text)} (--log-level, POP_LOG_LEVEL)"
        )
    return LEVELS[text]


def worth_showing(record: logging.LogRecord) -> bool:
    """Hide the logs of client libraries, which the bus sums up in a line; --log-level debug shows them."""
    if logging.getLogger().level <= logging.DEBUG:
        return True
    # acct warns about every credentials file that is not encrypted
    return record.name.split(".")[0] not in CLIENTS and not record.getMessage().startswith("No acct_key provided")


def with_fields(record: logging.LogRecord) -> bool:
    """Add the event and the handler under way to a record, and the trace, if they are not its own."""
    current = handling.current()
    if current is not None:
        record.__dict__.setdefault("event_id", current.event.id)
        record.__dict__.setdefault("routing_key", current.event.routing_key)
        record.__dict__.setdefault("handler", current.handler)
    if trace := _trace_id(current):
        record.__dict__.setdefault("trace_id", trace)
    return True


def _trace_id(current: handling.Handling | None) -> str:
    """Return the id of the trace: that of the current span of OpenTelemetry, else the one that the event carries."""
    if (api := sys.modules.get("opentelemetry.trace")) is not None:
        context = api.get_current_span().get_span_context()
        if context.is_valid:
            return f"{context.trace_id:032x}"
    parts = str(current.headers.get(handling.TRACE) or "").split("-") if current is not None else ()
    return parts[1] if len(parts) == 4 else ""


class TextFormatter(logging.Formatter):
    """Begins with the time, in ISO 8601 with milliseconds and the offset of the local time."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return the time of a record."""
        return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")


class VisibleFormatter(logging.Formatter):
    """Escapes control characters and indents further lines: names and texts of strangers forge no line of the log."""

    def __init__(self, handler: logging.Handler) -> None:
        super().__init__()
        self._format = (handler.formatter or logging.Formatter()).format
        self._indent = "" if isinstance(handler, RichHandler) else "  "  # Rich has a column for the text

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as the formatter before made it, for people."""
        lines = self._format(record).split("\n")
        return f"\n{self._indent}".join(shown.visible(line, "\t") for line in lines)


class JsonFormatter(TextFormatter):
    """One JSON object a line: time, level, logger, message, pid, and what is known of the event."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as a line."""
        data: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": os.getpid(),
        }
        if worker.THIS is not None:
            data["worker"] = worker.THIS.number
        data |= {name: value for name in FIELDS if (value := record.__dict__.get(name))}
        if record.exc_info:
            data["exception"] = self.formatException(record.exc_info)
        return json.dumps(data, default=str)
