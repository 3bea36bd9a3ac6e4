"""`evbus tail` shows whatever arrives: repeated headers, times that no calendar has, bodies without a form in JSON."""

import json

import pytest

from evbus_like.cli import arrivals
from evbus_like.engine.receiving.received import ReceivedEvent

HEADERS = {"trace": ["1", b"\xff", None], "once": b"\xfe", "\ud800": "\ud800"}


@pytest.mark.parametrize("timestamp", [0.0, -(2.0**63), 2.0**63, 1e300, float("nan"), 1.5e9])
@pytest.mark.parametrize("body", [None, {"a": {1}}, b"\xff", float("nan"), {b"k": 1}])
def test_whatever_arrives_is_shown(capsys, timestamp, body):
    event = ReceivedEvent(b"", "created", "orders", "e-1", HEADERS, timestamp=timestamp)
    event.body = body
    arrivals.Lines()(event)
    arrivals.Pretty()(event)
    line, pretty = capsys.readouterr().out.splitlines()[:2]
    assert json.loads(line)["headers"]["trace"] == ["1", {"base64": "/w=="}, None]
    assert "e-1" in pretty


def test_a_cloudevent_is_shown_with_its_attributes(capsys):
    event = ReceivedEvent(b"", "created", "orders", "e-1")
    event.cloudevent = {"id": "e-1", "vip": True, "raw": b"\xff"}
    arrivals.Lines()(event)
    assert json.loads(capsys.readouterr().out)["cloudevent"] == {"id": "e-1", "vip": True, "raw": {"base64": "/w=="}}
