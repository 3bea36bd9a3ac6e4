"""The log plugin `queue`: log records go to the console, and to the bus as events.

`--log-plugin queue`; `--log-handler-options profile=audit` puts them with the profile `audit` instead of `logger`.
"""

import logging
from collections.abc import Mapping
from typing import Any

from evbus_like.hub import log_handler


def wrapper(hub: Any, **options: str) -> Any:
    """Return a queue that puts log records on the bus, for `logging.handlers.QueueHandler`, as in pop-evbus."""
    return log_handler.BusHandler(hub, **options)


def setup(hub: Any, conf: Mapping[str, Any]) -> None:
    """Log to the console, and put every record on the bus: {message, module, level, timestamp}."""
    root = logging.getLogger()
    raw_level = str(conf["log_level"]).strip().lower()
    hub.log.INT_LEVEL = int(raw_level) if raw_level.isdigit() else hub.log.LEVEL.get(raw_level, root.level)
    root.setLevel(hub.log.INT_LEVEL)

    console = logging.StreamHandler()
    console.setFormatter(logging.Formatter(fmt=conf["log_fmt_console"], datefmt=conf["log_datefmt"]))
    _, options = hub.render.cli.args(conf["log_handler_options"])
    queue = log_handler.BusHandler(hub, **options)
    queue.setFormatter(logging.Formatter(fmt=conf["log_fmt_logfile"], datefmt=conf["log_datefmt"]))
    for handler in (console, queue):
        handler.setLevel(hub.log.INT_LEVEL)
        root.addHandler(handler)
        hub.log.handlers.addHandler(handler)
