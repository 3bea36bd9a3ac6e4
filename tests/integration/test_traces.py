"""Traces across real brokers, beside OpenTelemetry's own instrumentation of their clients."""

import pytest
from opentelemetry.instrumentation.aio_pika import AioPikaInstrumentor
from opentelemetry.instrumentation.aiokafka import AIOKafkaInstrumentor

from evbus_like.testing import eventually, running
from tests.integration.support import create_topic
from tests.traces import HANDLERS, SERVICE, Spans

LAST = "handle shop.ship"


@pytest.fixture(params=[False, True], ids=["alone", "instrumented"])
def spans(request, monkeypatch):
    made = Spans(monkeypatch)
    instrumentors = [AioPikaInstrumentor(), AIOKafkaInstrumentor()] if request.param else []
    for each in instrumentors:
        each.instrument(tracer_provider=made.provider)
    yield made
    for each in instrumentors:
        each.uninstrument()


async def traced(spans, hub, front):
    """Dispatch an event within a span, and give the names of the spans of its trace once its chain has ended."""
    await hub.evbus.handlers.start()
    await hub.evbus.handlers.join(30)
    with spans.tracer.start_as_current_span("the request") as request:
        await hub.evbus.broker.dispatch(front, "ordered", {"item": "tea"})
    await eventually(lambda: any(span.name == LAST for span in spans.all))
    trace = request.get_span_context().trace_id
    return [span.name for span in spans.all if span.context.trace_id == trace]


async def test_one_trace_goes_over_rabbitmq_to_handlers_and_a_service(spans, rabbitmq, app, fresh_name):
    handlers = HANDLERS.replace('"front"', f'"{fresh_name}"').replace('"back"', f'"{fresh_name}-2"')
    profiles = {"amqp": {"default": {"connection": {"url": rabbitmq.url}}}}
    handlers = handlers.replace("rpc.world", f'rpc["{fresh_name}"]')
    hub = app(f'    SERVICE = "{fresh_name}"\n{SERVICE}', handler__shop=handlers)
    async with running(profiles, hub):
        await hub.evbus.rpc.start()
        await hub.evbus.rpc.join(30)
        names = await traced(spans, hub, fresh_name)

    called = f"{fresh_name}.price"
    assert names.count("put default") == 2
    assert {f"call {called}", f"serve {called}", "receive shop.place", "handle shop.place", LAST} < set(names)
    published = [span for span in spans.all if span.name == "publish amqp:default"]
    assert {len(span.links) for span in published} == {1}
    assert {span.attributes["messaging.system"] for span in published} == {"rabbitmq"}


async def test_one_trace_goes_over_kafka(spans, kafka, app, fresh_name):
    for name in (fresh_name, f"{fresh_name}-2"):
        await create_topic(kafka.bootstrap, f"{name}.events")
    handlers = HANDLERS.replace('"front"', f'"{fresh_name}"').replace('"back"', f'"{fresh_name}-2"')
    profiles = {"kafka": {"default": {"connection": {"bootstrap_servers": kafka.bootstrap}}}}
    hub = app(handler__shop=handlers.replace('await hub.rpc.world.price(event.body["item"])', "event.body"))
    async with running(profiles, hub):
        names = await traced(spans, hub, fresh_name)

    assert names.count("put default") == 2
    assert {"receive shop.place", "handle shop.place", "receive shop.ship", LAST} < set(names)
