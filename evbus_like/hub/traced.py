"""Says whether the application has set up an OpenTelemetry SDK, and chooses the classes that make spans then.

Whatever the SDK raises, the bus goes on.
"""

from __future__ import annotations

import sys
from typing import TypeVar

from evbus_like.hub.surviving import surviving

T = TypeVar("T")


@surviving(False)
def is_set_up() -> bool:
    """Return whether this process has an OpenTelemetry SDK: a program that sets one up has imported the API before."""
    trace = sys.modules.get("opentelemetry.trace")
    return trace is not None and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@surviving(False)
def has_meters() -> bool:
    """Return whether this process has an OpenTelemetry SDK for metrics."""
    metrics = sys.modules.get("opentelemetry.metrics")
    if metrics is None:
        return False
    internal = sys.modules["opentelemetry.metrics._internal"]
    return not isinstance(metrics.get_meter_provider(), (metrics.NoOpMeterProvider, internal._ProxyMeterProvider))


def traced(plain: type[T]) -> type[T]:
    """Return the class that makes spans in place of a class of ours; without an SDK that class itself."""
    if not is_set_up():
        return plain
    from evbus_like.hub import tracing  # it imports OpenTelemetry

    return tracing.TRACED[plain]
