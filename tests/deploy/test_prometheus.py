"""Alert rules and dashboard: promtool accepts them, each alert fires for its trouble alone, all metrics exist."""

import json
import re

import pytest
import yaml

from evbus_like.monitor import metrics
from tests.brokers.needs import in_ci, promtool, promtool_missing
from tests.deploy.programs import DEPLOY, ROOT, ran

RULES = DEPLOY / "prometheus" / "rules.yml"
DASHBOARD = DEPLOY / "grafana" / "evbus.json"
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
BEGINS = "0x60"  # promtool's notation: 0, and 60 times the same
# An hour of a process in good times, a value a minute.
GOOD = {
    'up{job="evbus"}': "1x60",
    'process_start_time_seconds{job="evbus"}': "1000x60",
    "evbus_ready": "1x60",
    "evbus_event_loop_delay_seconds_sum": "0+0.06x60",
    **{f'evbus_destination_state{{destination="amqp:orders",state="{state}"}}': BEGINS for state in metrics.STATES},
    'evbus_destination_state{destination="amqp:orders",state="open"}': "1x60",
    'evbus_destination_oldest_event_age_seconds{destination="amqp:orders"}': "0.2x60",
    'evbus_destination_queued_events{destination="amqp:orders"}': "2000x60",
    'evbus_destination_behind_events{destination="amqp:orders"}': BEGINS,
    "evbus_outbox_bytes": "0+1x60",
    "evbus_outbox_limit_bytes": "100000x60",
    "evbus_outbox_usable": "1x60",
    'evbus_destination_events_dropped_total{destination="amqp:orders",reason="removed"}': "12x60",
    'evbus_destination_events_dead_lettered_total{destination="amqp:orders"}': "3x60",
    'evbus_handler_events_dead_lettered_total{handler="shipping.ship"}': BEGINS,
    'evbus_service_requests_dead_lettered_total{service="world"}': BEGINS,
    "evbus_events_unmatched_total": "1x60",
    "evbus_events_rejected_total": "1x60",
    'evbus_handler_state{handler="shipping.ship",state="open"}': "1x60",
    'evbus_handler_state{handler="shipping.ship",state="retrying"}': BEGINS,
    'evbus_service_state{service="world",state="refused"}': BEGINS,
    'evbus_handler_events_received_total{handler="shipping.ship"}': "0+100x60",
    'evbus_handler_events_failed_total{handler="shipping.ship"}': "0+1x60",
    'evbus_service_requests_received_total{service="world"}': "0+100x60",
    'evbus_service_requests_failed_total{service="world"}': "0+1x60",
    'evbus_handler_in_progress_events{handler="shipping.ship"}': "3x60",
    'evbus_handler_running_seconds_count{handler="shipping.ship"}': "0+100x60",
    'evbus_calls_made_total{source="amqp:orders"}': "0+100x60",
    'evbus_calls_timed_out_total{source="amqp:orders"}': "0+1x60",
}
# What is different in that hour, for each alert.
TROUBLE = {
    "EvbusDown": {'up{job="evbus"}': "1x55 0x5"},
    "EvbusRestarts": {'process_start_time_seconds{job="evbus"}': "1000x50 2000+10x9"},
    "EvbusNotReady": {"evbus_ready": "1x40 0x20"},
    "EvbusLoopStuck": {"evbus_event_loop_delay_seconds_sum": "0x50 0+20x10"},
    "EvbusDestinationDown": {'evbus_destination_state{destination="amqp:orders",state="retrying"}': "0x50 1x10"},
    "EvbusDestinationRefuses": {'evbus_destination_state{destination="amqp:orders",state="refused"}': "0x50 1x10"},
    "EvbusDestinationBlocked": {'evbus_destination_state{destination="amqp:orders",state="blocked"}': "0x50 1x10"},
    "EvbusEventsLate": {'evbus_destination_oldest_event_age_seconds{destination="amqp:orders"}': "0x20 0+60x40"},
    "EvbusBacklogGrows": {'evbus_destination_behind_events{destination="amqp:orders"}': "0+100x60"},
    "EvbusOutboxFills": {"evbus_outbox_bytes": "0+600x60"},
    "EvbusOutboxUnusable": {"evbus_outbox_usable": "1x55 0x5"},
    "EvbusEventsDropped": {
        'evbus_destination_events_dropped_total{destination="amqp:orders",reason="drop_old"}': "_x57 5x3"
    },
    "EvbusDeadLetters": {'evbus_handler_events_dead_lettered_total{handler="shipping.ship"}': "0x57 1x3"},
    "EvbusEventsUnmatched": {"evbus_events_unmatched_total": "1x57 2x3"},
    "EvbusEventsRejected": {"evbus_events_rejected_total": "1x57 2x3"},
    "EvbusHandlerDown": {'evbus_service_state{service="world",state="refused"}': "0x50 1x10"},
    "EvbusHandlerFails": {'evbus_handler_events_failed_total{handler="shipping.ship"}': "0+10x60"},
    "EvbusHandlerHangs": {'evbus_handler_running_seconds_count{handler="shipping.ship"}': "0+100x30 3000x30"},
    "EvbusCallsTimeOut": {'evbus_calls_timed_out_total{source="amqp:orders"}': "0+10x60"},
}


@pytest.fixture(scope="module")
def tool():
    """The path of promtool."""
    if promtool() is None:
        (pytest.fail if in_ci() else pytest.skip)(promtool_missing())
    return promtool()


def named(text):
    """Give the names of the metrics in an expression."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\b(?:evbus|process)_\w+", text)}


def expressions(part):
    """Give all texts under the name expr in a document."""
    if isinstance(part, dict):
        return [*([part["expr"]] if "expr" in part else []), *(e for each in part.values() for e in expressions(each))]
    return [text for each in part for text in expressions(each)] if isinstance(part, list) else []


def test_promtool_finds_nothing_wrong_with_the_rules(tool):
    code, out = ran(tool, "check", "rules", RULES)
    assert code == 0, out


def test_in_good_times_no_alert_fires_and_in_trouble_its_own_alone(tool, tmp_path):
    def case(name, different, expected):
        series = [{"series": each, "values": values} for each, values in (GOOD | different).items()]
        asked = {
            "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": "60m",
            "exp_samples": [{"labels": f'{{alertname="{each}"}}', "value": 1} for each in expected],
        }
        return {"name": name, "interval": "1m", "input_series": series, "promql_expr_test": [asked]}

    cases = [case("good", {}, []), *(case(name, different, [name]) for name, different in TROUBLE.items())]
    tests = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": cases}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests))

    assert TROUBLE.keys() == {each["alert"] for each in ALERTS}
    code, out = ran(tool, "test", "rules", tmp_path / "tests.yml")
    assert code == 0, out


def test_promtool_can_read_every_expression_of_the_dashboard(tool, tmp_path):
    texts = [text.replace("$__rate_interval", "5m") for text in expressions(json.loads(DASHBOARD.read_text()))]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(texts)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    code, out = ran(tool, "check", "rules", tmp_path / "rules.yml")
    assert (code, f"{len(texts)} rules found" in out) == (0, True), out


def test_every_metric_of_rules_and_dashboard_exists():
    exist = {name for name, _, _, _ in metrics.table()} | {"evbus_info"}
    for file in (RULES, DASHBOARD):
        texts = expressions(yaml.safe_load(file.read_text()))
        assert len(texts) > 10
        for text in texts:
            assert named(text) <= exist, text


def test_each_alert_has_a_part_of_the_runbook_and_a_severity():
    for alert in ALERTS:
        page, _, anchor = alert["annotations"]["runbook"].partition("#")
        headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / page).read_text(), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}, alert["alert"]
        assert alert["labels"]["severity"] in ("warning", "critical")


def test_the_panels_of_the_dashboard_lie_beside_each_other_and_ask_the_chosen_source():
    dashboard = json.loads(DASHBOARD.read_text())
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]

    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(places)
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {"${source}"}
    assert {each["name"] for each in dashboard["templating"]["list"]} == {"source", "job", "instance"}
