"""Traces: one across put, handler, its put and a call; what spans say; and nothing where no SDK is set up."""

import asyncio
import threading

import pytest
from opentelemetry import baggage, context, metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import SpanKind, StatusCode

from evbus_like.engine.errors import BadEvent, RemoteError
from evbus_like.hub import tracing
from evbus_like.monitor import instruments
from evbus_like.testing import eventually, running
from tests.traces import HANDLERS, SERVICE, Spans

TREE = {
    "the request": [
        {
            "put default": [
                {
                    "receive shop.place": [
                        {
                            "handle shop.place": [
                                {"call world.price": [{"serve world.price": []}]},
                                {"put default": [{"receive shop.ship": [{"handle shop.ship": []}]}]},
                            ]
                        }
                    ]
                }
            ]
        }
    ]
}


PROFILES = {"internal": {"default": None, "mine": {"routing_key": "mine"}}}


@pytest.fixture
def spans(monkeypatch):
    return Spans(monkeypatch)


@pytest.fixture
async def hub(app):
    async with running(PROFILES, app(SERVICE, handler__shop=HANDLERS)) as hub:
        await hub.evbus.rpc.start()
        await hub.evbus.rpc.join(30)
        await hub.evbus.handlers.start()
        await hub.evbus.handlers.join(30)
        yield hub


async def test_one_trace_goes_from_a_put_over_its_handler_to_what_that_calls_and_puts(spans, hub):
    with spans.tracer.start_as_current_span("the request") as request:
        await hub.evbus.broker.dispatch("front", "ordered", {"item": "tea"})
        await eventually(lambda: hub.SEEN)

    await eventually(lambda: any(span.name == "receive shop.ship" for span in spans.all))
    assert spans.tree(spans.named("the request")) == TREE
    in_trace = [span for span in spans.all if span.context.trace_id == request.get_span_context().trace_id]
    assert len(in_trace) == len(spans.all) - 2  # two batches were published


async def test_a_publish_links_to_the_puts_of_its_events(spans, hub):
    await hub.evbus.broker.dispatch("nobody", "hears", 1, confirm="delivered")

    published, put = spans.named("publish internal:default"), spans.named("put default")
    assert published.parent is None
    assert [link.context.span_id for link in published.links] == [put.context.span_id]
    assert dict(published.attributes) == {
        "messaging.system": "memory",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": "default",
        "messaging.batch.message_count": 1,
    }
    assert (put.kind, published.kind) == (SpanKind.PRODUCER, SpanKind.CLIENT)


async def test_a_batch_has_a_trace_of_its_own_with_links_to_its_events(spans, app):
    source = """
    @evbus.handler("front", "counted", batch=2, linger=5)
    async def count(hub, events):
        hub.SEEN.append(events)
    """
    async with running(PROFILES, app(handler__shop=source)) as hub:
        await hub.evbus.handlers.start()
        await hub.evbus.handlers.join(30)
        for number in range(2):
            await hub.evbus.broker.dispatch("front", "counted", number)
        await eventually(lambda: hub.SEEN and any(span.name == "receive shop.count" for span in spans.all))

    received = spans.named("receive shop.count")
    assert received.parent is None
    puts = [span.context.span_id for span in spans.all if span.name == "put default"]
    assert sorted(link.context.span_id for link in received.links) == sorted(puts)
    assert received.attributes["messaging.batch.message_count"] == 2


async def test_put_nowait_is_traced_and_keeps_the_applications_own_headers(spans, hub):
    queue = await hub.ingress.internal.get("mine")
    with spans.tracer.start_as_current_span("the request"):
        hub.evbus.broker.put_nowait("", 1, "mine", headers={"tenant": "blue"})
        hub.evbus.broker.put_nowait("", 2, "mine", headers={"traceparent": "mine"})

    first, second = (await queue.get_event()).headers, (await queue.get_event()).headers
    assert set(first) == {"traceparent", "tenant"}
    assert second == {"traceparent": "mine"}


async def test_baggage_goes_along_the_chain(spans, hub):
    token = context.attach(baggage.set_baggage("tenant", "blue"))
    await hub.evbus.broker.dispatch("front", "ordered", {"item": "tea"})
    context.detach(token)
    await eventually(lambda: hub.SEEN)

    assert hub.BAGGAGE == ["tenant=blue"]


async def test_failures_mark_their_spans_and_show_no_text(spans, hub):
    with pytest.raises(BadEvent):
        await hub.evbus.broker.put("x" * 300, 1)
    with pytest.raises(RemoteError):
        await hub.rpc.world.fail()
    await hub.evbus.broker.dispatch("front", "spoilt", "s3cret")
    await eventually(lambda: any(span.name == "receive shop.spoil" for span in spans.all))

    for name in ("call world.fail", "serve world.fail", "handle shop.spoil", "receive shop.spoil"):
        assert spans.named(name).status.status_code is StatusCode.ERROR, name
    assert spans.named("handle shop.spoil").attributes["error.type"] == "ValueError"
    assert next(span.attributes["error.type"] for span in spans.all) == "BadEvent"
    assert "s3cret" not in "".join(span.to_json() for span in spans.all)


@pytest.mark.parametrize("header", ["", "00-zz", b"\xff\xfe", "00-" + "1" * 9000, 7, None, ["a", "b"]], ids=ascii)
async def test_a_strange_trace_header_begins_a_trace_of_its_own(spans, hub, header):
    await hub.evbus.broker.dispatch("back", "placed", 1, headers={"traceparent": header, "baggage": header})
    await eventually(lambda: any(span.name == "receive shop.ship" for span in spans.all))

    assert hub.SEEN == [1]


async def test_without_an_sdk_no_event_carries_a_context(hub):
    queue = await hub.ingress.internal.get("mine")
    await hub.evbus.broker.put("", 1, "mine")
    assert not (await queue.get_event()).headers


async def test_an_sdk_for_metrics_gets_the_metrics_under_their_names(app, monkeypatch):
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: provider)
    monkeypatch.setattr("evbus_like.monitor.instruments.get_meter_provider", lambda: provider)

    def found():
        data = reader.get_metrics_data()
        scopes = data.resource_metrics[0].scope_metrics if data else []
        found = [metric for scope in scopes for metric in scope.metrics]
        points = [(metric.name, point) for metric in found for point in metric.data.data_points]
        return {(name, *sorted(point.attributes.values())): point.value for name, point in points}

    async with running(PROFILES, app(SERVICE, handler__shop=HANDLERS)) as hub:
        await hub.evbus.handlers.start()
        await hub.evbus.handlers.join(30)
        await hub.evbus.broker.dispatch("back", "placed", 1, confirm="delivered")
        await eventually(lambda: hub.SEEN)
        numbers = await asyncio.to_thread(found)  # as an exporter does, in a thread of its own

    assert numbers["evbus_destination_events_delivered", "internal:default"] == 1
    assert numbers["evbus_handler_events_received", "internal:default", "shop.ship"] == 1
    assert numbers["evbus_destination_publish_seconds_count", "internal:default"] in (0, 1)
    assert numbers["evbus_bus_running",] == 1
    assert not await asyncio.to_thread(found)  # after the stop
    provider.shutdown()


async def test_a_loop_that_is_stuck_is_asked_once_for_all_metrics(monkeypatch):
    monkeypatch.setattr(
        "evbus_like.monitor.instruments.get_meter_provider", lambda: MeterProvider(shutdown_on_exit=False)
    )
    monkeypatch.setattr(instruments, "WITHIN", 0.05)
    reader = instruments.ProcessReader(lambda: {"pid": 1})
    found = []
    thread = threading.Thread(target=lambda: found.extend(reader.read() for _ in range(100)))
    thread.start()
    thread.join(3.0)  # the loop does nothing meanwhile

    assert found == [None] * 100
    await asyncio.sleep(0.6)
    assert await asyncio.to_thread(reader.read) == {"pid": 1}
    reader.close()


class Failing:
    """A part of an SDK of which every attribute, or after `after` uses every call, raises."""

    def __init__(self, error, within=None, after=0):
        self._error, self._within, self._left = error, within, [after]

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if self._left[0] <= 0:
            raise self._error
        self._left[0] -= 1
        return getattr(self._within, name)


STRANGE = [RuntimeError("no collector"), SystemExit(2), AttributeError("odd version")]


@pytest.mark.parametrize("error", STRANGE, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("part", ["provider", "tracer", "span", "propagator", "meters"])
async def test_an_sdk_that_raises_at_the_start_or_later_costs_spans_and_metrics_and_no_event(
    app, monkeypatch, caplog, error, part
):
    spans = Spans(monkeypatch)
    failing = Failing(error, spans.tracer, after=3)  # a tracer that makes three spans
    if part == "provider":
        monkeypatch.setattr(tracing.trace, "get_tracer_provider", lambda: Failing(error))
    elif part == "tracer":
        monkeypatch.setattr(tracing, "_tracer", lambda: failing)
    elif part == "span":
        monkeypatch.setattr("opentelemetry.sdk.trace.Span.set_attribute", lambda *_: (_ for _ in ()).throw(error))
        monkeypatch.setattr("opentelemetry.sdk.trace.Span.set_status", lambda *_: (_ for _ in ()).throw(error))
        monkeypatch.setattr("opentelemetry.sdk.trace.Span.end", lambda *_: (_ for _ in ()).throw(error))
    elif part == "propagator":
        monkeypatch.setattr(tracing.propagate, "get_global_textmap", lambda: Failing(error))
    else:
        monkeypatch.setattr(metrics, "get_meter_provider", lambda: MeterProvider(shutdown_on_exit=False))
        monkeypatch.setattr(instruments, "get_meter_provider", lambda: Failing(error))
    monkeypatch.setattr("evbus_like.hub.surviving._logged", float("-inf"))

    async with running(PROFILES, app(SERVICE, handler__shop=HANDLERS)) as hub:
        await hub.evbus.rpc.start()
        await hub.evbus.rpc.join(30)
        await hub.evbus.handlers.start()
        await hub.evbus.handlers.join(30)
        await hub.evbus.broker.dispatch("front", "ordered", {"item": "tea"}, confirm="delivered")
        await eventually(lambda: hub.SEEN)
        assert hub.evbus.init.account().lanes[0].dead_lettered == 0
        assert all(not each["failed"] for each in hub.evbus.handlers.status().values())

    assert caplog.text.count("OpenTelemetry failed") == 1
