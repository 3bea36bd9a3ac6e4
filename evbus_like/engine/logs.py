"""Loggers that survive the log handlers of an application: one that raises costs its line, and no event."""

from __future__ import annotations

import logging

OURS = "evbus_like."


class SurvivingLogger(logging.Logger):
    """A logger whose calls raise nothing: Python reports what a handler or a filter raises on standard error."""

    def handle(self, record: logging.LogRecord) -> None:
        """Pass a record to the handlers."""
        try:
            super().handle(record)
        except KeyboardInterrupt:
            raise
        except BaseException:
            (logging.lastResort or logging.StreamHandler()).handleError(record)


def protect() -> None:
    """Make the loggers of this package survive that there are by now; the application's own stay as they are."""
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if name.startswith(OURS) and type(logger) is logging.Logger:
            logger.__class__ = SurvivingLogger
