"""A logging handler that puts records on the bus."""

from __future__ import annotations

import logging
import threading

from evbus_like.engine.errors import PutError
from evbus_like.engine.event import quietly
from evbus_like.engine.put import Putter
from evbus_like.hub.runtime import Hub

# Loggers of the bus and its client libraries: a record about a failing destination must not become an event for it.
OWN = ("evbus_like", "aio_pika", "aiormq", "aiokafka", "asyncio")


class BusHandler(logging.Handler):
    """Puts each record as an event, with the profile `logger` by default.

    It skips records of the bus itself, and a failure to deliver a record is counted and not logged, so no log line
    causes another. If the bus is full, a record is dropped and counted.
    """

    def __init__(self, hub: Hub, profile: str = "logger", routing_key: str = "") -> None:
        super().__init__()
        self._putter = Putter(hub.evbus.RUNTIME.bus)  # records do not pass the middleware
        self._profile = profile
        self._routing_key = routing_key
        self._busy = threading.local()
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Put one record."""
        if record.name.split(".")[0] in OWN or getattr(self._busy, "now", False):
            return
        self._busy.now = True
        token = quietly.set(True)
        try:
            self.format(record)  # sets asctime
            body = {
                "message": record.getMessage(),
                "module": record.module,
                "level": record.levelname.strip(),
                "timestamp": str(getattr(record, "asctime", "")).strip(),
            }
            self._putter.put_nowait(self._routing_key, body, self._profile)
        except PutError:
            self.dropped += 1
        except Exception:
            self.handleError(record)
        finally:
            quietly.reset(token)
            self._busy.now = False

    put_nowait = emit  # as of a queue, for logging.handlers.QueueHandler
