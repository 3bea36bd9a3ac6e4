"""monitor/metrics.py: what a scraper gets, of a bus with a load of every kind."""

import asyncio
import re
import subprocess
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from evbus_like.cli import status
from evbus_like.hub import monitoring
from evbus_like.monitor import document, exposition, metrics
from evbus_like.testing import eventually, new_hub, running
from tests.brokers.needs import in_ci, promtool, promtool_missing
from tests.in_memory.test_http import GONE, ask
from tests.unit.fakes import HANG

HANDLER = """
@evbus.handler("orders", "placed", on_error=evbus.REJECT)
async def ship(hub, event):
    if event.body == "bad":
        raise ValueError("no")
"""
HERE = "internal:default"
SERVICE = "async def hello(hub, name): return name\n"


@pytest.fixture
async def loaded(app, tmp_path):
    """A hub and the URL of its port: a handler, a service, calls, an outbox, destinations that are away or full."""
    hub = app(SERVICE, handler__shipping=HANDLER)
    hub.OPT = {"evbus_like": {"outbox_path": str(tmp_path / "outbox.sqlite"), "stop_grace": 0.1}}
    away = {"connection": GONE, "outbox": "always"}
    full = {"connection": GONE, "when_full": "drop_new", "max_events": 1}
    profiles = {"internal": {"default": None}, "amqp": {"away": away, "full": full}}
    listener = asyncio.create_task(hub.evbus.init.start(profiles))
    async with asyncio.timeout(HANG):
        await hub.evbus.init.join()
        await hub.evbus.handlers.start()
        await hub.evbus.rpc.start()
        url = await hub.evbus.http.start("0")
        for body in (1, 2, "bad"):
            await hub.evbus.broker.dispatch("orders", "placed", body)
        for _ in range(3):
            await hub.evbus.broker.put("k", 1, profile="full")
        await hub.evbus.broker.put("k", 1, profile="away")
        await hub.evbus.broker.put("k", 1, profile="nobody")
        assert await hub.rpc.world.hello("ann", timeout=HANG) == "ann"
        await eventually(lambda: next(iter(hub.evbus.handlers.status().values()))["dead"], HANG)
        yield hub, url
        await hub.evbus.init.stop(1.0)
        await listener


def samples(text):
    """A function that gives the value of a metric with these labels."""
    families = text_string_to_metric_families(text)
    found = {(each.name, *sorted(each.labels.values())): each.value for family in families for each in family.samples}
    return lambda name, *labels: found[name, *sorted(labels)]


async def test_a_scraper_gets_the_numbers_of_the_account(loaded):
    hub, url = loaded
    found = samples((await ask(url, "/metrics"))[2])

    lanes = hub.evbus.init.status()["destinations"]
    assert (
        found("evbus_destination_events_delivered_total", "internal:default") == lanes["internal:default"]["delivered"]
    )
    assert found("evbus_destination_delivered_bytes_total", "internal:default") >= len(b"1" + b"2" + b'"bad"')
    assert found("evbus_destination_events_dropped_total", "amqp:full", "drop_new") == 2
    assert found("evbus_destination_state", "amqp:full", "open") == 0
    assert found("evbus_events_unmatched_total") == 1
    assert found("evbus_handler_events_handled_total", "shipping.ship", "internal:default") == 2
    assert found("evbus_handler_events_dead_lettered_total", "shipping.ship", "internal:default") == 1
    assert found("evbus_handler_running_seconds_count", "shipping.ship", "internal:default") == 3
    assert found("evbus_handler_lag_events", "shipping.ship", "internal:default") == 0
    assert found("evbus_handler_running_seconds_bucket", "shipping.ship", "internal:default", "+Inf") == 3
    assert found("evbus_calls_answered_total", "internal:default", "nameko-rpc") == 1
    assert found("evbus_call_seconds_count", "internal:default", "nameko-rpc") == 1
    assert found("evbus_outbox_events", "amqp:away") == 1
    assert found("evbus_outbox_commit_seconds_count") > 0
    assert found("process_resident_memory_bytes") > 1_000_000
    assert found("evbus_ready") == 0


async def test_every_metric_of_the_table_is_exposed_and_no_other(loaded):
    _, url = loaded
    text = (await ask(url, "/metrics"))[2]

    exposed = {each.group(1): each.group(2) for each in re.finditer(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)}
    exposed.pop("evbus_info")
    assert exposed == {name: kind for name, kind, _, _ in metrics.table()}


async def test_no_label_holds_what_an_event_brings(loaded):
    _, url = loaded
    labels = {name for each in metrics.METRICS for name in each.labels}

    assert labels == {"destination", "reason", "state", "handler", "service", "source", "exchange", "profile"}
    assert '"k"' not in (await ask(url, "/metrics"))[2]


async def test_openmetrics_is_given_to_those_that_accept_it(loaded):
    _, url = loaded
    _, head, text = await ask(url, "/metrics", "Accept: application/openmetrics-text; version=1.0.0")

    assert "application/openmetrics-text" in head
    assert text.endswith("# EOF\n")


async def test_promtool_finds_nothing_to_say(loaded):
    if promtool() is None:
        (pytest.fail if in_ci() else pytest.skip)(promtool_missing())
    _, url = loaded
    text = (await ask(url, "/metrics"))[2]

    command = [promtool(), "check", "metrics"]
    ran = await asyncio.to_thread(subprocess.run, command, input=text.encode(), capture_output=True, timeout=HANG)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, b"")


async def test_the_samples_of_several_workers_name_them(loaded):
    hub, _ = loaded
    one = hub.evbus.RUNTIME.monitor.process()
    both = document.status([{**one, "worker": 1}, {**one, "worker": 2}])
    found = samples(exposition.exposed(both, "")[0].decode())

    for worker in ("1", "2"):
        assert found("evbus_handler_events_handled_total", worker, "shipping.ship", "internal:default") == 2


async def test_two_rows_with_the_same_labels_are_one_sample(loaded):
    hub, _ = loaded
    one = hub.evbus.RUNTIME.monitor.process()
    (row,) = one["handlers"].values()
    twice = document.status([{**one, "handlers": {"a": row, "b": row}}])
    found = samples(exposition.exposed(twice, "")[0].decode())

    assert found("evbus_handler_events_handled_total", "shipping.ship", "internal:default") == 4
    assert found("evbus_handler_running_seconds_count", "shipping.ship", "internal:default") == 6


async def test_the_metrics_and_evbus_status_count_events_that_nobody_wants_any_more(capsys):
    hub = new_hub()
    async with running({"internal": {"default": None}}, hub):
        hub.evbus.broker.put_nowait(body=1, expires=0.001)
        time.sleep(0.01)  # noqa: ASYNC251 (the bus comes too late)
        await eventually(lambda: hub.evbus.init.account().expired, HANG)
        seen = await monitoring.of(hub).status()

    assert samples(exposition.exposed(seen, "")[0].decode())("evbus_destination_events_expired_total", HERE) == 1
    status.table(seen)
    printed = capsys.readouterr().out.splitlines()
    head, row = (re.split("[┃│]", line) for line in printed if "expired" in line or HERE in line)
    assert row[[cell.strip() for cell in head].index("expired")].strip() == "1"
