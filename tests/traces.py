"""Helpers for tests of traces: an OpenTelemetry SDK for one test, and an application whose events cause others."""

from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

SERVICE = """
    async def price(hub, item):
        return {"item": item, "price": 7}

    async def fail(hub):
        raise ValueError("my s3cret")
"""
HANDLERS = """
    @evbus.handler("front", "ordered")
    async def place(hub, event):
        found = await hub.rpc.world.price(event.body["item"])
        await hub.evbus.broker.dispatch("back", "placed", found)

    @evbus.handler("back", "placed")
    def ship(hub, event):
        hub.SEEN.append(event.body)
        hub.BAGGAGE = [event.headers.get("baggage")]

    @evbus.handler("front", "spoilt", on_error=evbus.REJECT)
    async def spoil(hub, event):
        raise ValueError("my s3cret")
"""


class Spans:
    """The spans that an SDK has exported."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)  # the real one can be set only once
        self.tracer = provider.get_tracer("the application")

    @property
    def all(self) -> Sequence[ReadableSpan]:
        """Those that have ended."""
        return self.exporter.get_finished_spans()

    def named(self, name: str) -> Any:
        """The only one of a name."""
        (found,) = (span for span in self.all if span.name == name)
        return found

    def tree(self, span: Any) -> Any:
        """The names of what a span has caused, below its own."""
        below = [each for each in self.all if each.parent and each.parent.span_id == span.context.span_id]
        return {span.name: sorted((self.tree(each) for each in below), key=str)}
