"""The log of the command: time and level, text or JSON, and no noise of client libraries above debug."""

import io
import json
import logging
import re
from types import SimpleNamespace

import pytest
from dict_tools.data import NamespaceDict
from rich.console import Console

from evbus_like.cli import logs
from evbus_like.cli.errors import UsageError
from evbus_like.engine.handling import Handling, handling
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.testing import new_hub

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"


@pytest.fixture
def root(monkeypatch):
    """The root logger, without handlers, as it is in a new process."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    before = root.level
    yield root
    for handler in root.handlers:
        handler.close()
    root.setLevel(before)


def set_up(log_format="text", level="warning", log_file="evbus.log"):
    hub = new_hub()
    options = {"log_level": level, "log_plugin": "basic", "log_file": log_file, "log_handler_options": []}
    formats = {"log_fmt_logfile": "%(asctime)s [%(levelname)s] %(message)s", "log_datefmt": "%H:%M:%S"}
    hub.OPT = NamespaceDict({"pop_config": {**options, **formats}, "evbus_like": {"log_format": log_format}})
    hub.render = SimpleNamespace(cli=SimpleNamespace(args=lambda given: ([], {})))
    logs.set_up(hub, Console(stderr=True))


def test_each_line_has_the_time_and_the_level(root, capsys):
    set_up()
    logging.getLogger("evbus_like.lane").warning("amqp:orders is back")
    assert re.fullmatch(rf"{TIME} WARNING: amqp:orders is back\n", capsys.readouterr().err)


def test_json_has_an_object_a_line_with_what_is_known_of_the_event(root, capsys):
    set_up("json")
    extra = {"event_id": "e1", "profile": "orders", "destination": "amqp:orders", "routing_key": "a\nb"}
    logging.getLogger("evbus_like.failures").error("failed %s", "x\ny", extra=extra)
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("shop").exception("no")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert re.fullmatch(TIME, first.pop("time"))
    assert first.pop("pid")
    assert first == {"level": "error", "logger": "evbus_like.failures", "message": "failed x\ny", **extra}
    assert "ValueError: broken" in second["exception"]


def test_what_a_handler_logs_names_its_event_and_the_trace(root, capsys):
    set_up("json", "info")
    trace = "0af7651916cd43dd8448eb211c80319c"
    event = ReceivedEvent(b"", "placed", "orders", "e7", {"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    token = handling.set(Handling(event, "shipping.ship"))
    try:
        logging.getLogger("shop").info("shipped")
    finally:
        handling.reset(token)
    logging.getLogger("shop").info("idle")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["event_id"], first["handler"], first["routing_key"]) == ("e7", "shipping.ship", "placed")
    assert first["trace_id"] == trace
    assert not {"event_id", "handler", "trace_id"} & set(second)


@pytest.mark.parametrize(("level", "shown"), [("info", False), ("warning", False), ("debug", True)])
def test_the_noise_of_client_libraries_is_shown_at_debug_only_in_files_too(root, capsys, tmp_path, level, shown):
    set_up(level=level, log_file=str(tmp_path / "log"))
    logging.getLogger("aiokafka.conn").error("noise")
    logging.getLogger("evbus_like.lane").error("news")
    for text in (capsys.readouterr().err, (tmp_path / "log").read_text()):
        assert ("noise" in text) is shown
        assert "news" in text
    assert re.search(r"^\d\d:\d\d:\d\d \[ERROR\] news$", (tmp_path / "log").read_text(), re.MULTILINE)


def test_a_file_may_be_json_too(root, capsys, tmp_path):
    set_up("json", log_file=str(tmp_path / "log"))
    logging.getLogger("evbus_like.lane").error("news")
    assert json.loads((tmp_path / "log").read_text())["message"] == "news"


def test_a_wrong_format_is_named(root):
    with pytest.raises(UsageError, match="setting log_format must be text or json, not 'xml'"):
        set_up("xml")


def failing(count, handler="shipping.ship", at=1000.0):
    """Log failures of a handler, all in one second."""
    log = logging.getLogger("evbus_like.handlers")
    for number in range(count):
        record = log.makeRecord(log.name, logging.ERROR, "", 0, "%s failed: %s", (handler, f"no {number}"), None)
        record.created = at
        log.handle(record)


def test_repeated_trouble_is_logged_ten_times_in_a_minute_and_then_by_its_count(root, capsys):
    set_up()
    failing(500)
    failing(3, "shipping.audit")
    failing(1, at=1061.0)
    for _ in range(20):
        logging.getLogger("shop").error("the application's own lines are left alone")
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if "shipping.ship failed: no" in line and "more lines like" not in line]) == 11
    assert len([line for line in lines if "shipping.audit" in line]) == 3
    assert len([line for line in lines if "left alone" in line]) == 20
    (summary,) = [line for line in lines if "more lines like this" in line]
    assert "ERROR: 490 more lines like this within a minute; the latest: shipping.ship failed: no 499" in summary


def test_all_handlers_of_the_log_have_the_same_lines(root, capsys, tmp_path):
    set_up("json", log_file=str(tmp_path / "log"))
    failing(50)
    logging.getLogger("evbus_like.bus").warning("later")
    for text in (capsys.readouterr().err, (tmp_path / "log").read_text()):
        messages = [json.loads(line)["message"] for line in text.splitlines()]
        assert messages[:10] == [f"shipping.ship failed: no {number}" for number in range(10)]
        assert sorted(messages[10:]) == [
            "40 more lines like this within a minute; the latest: shipping.ship failed: no 49",
            "later",
        ]


HOSTILE = "no \x1b[31m\u202ered\r\x9b\n2026-11-30T06:40:28.221+00:00 CRITICAL: all is lost"


@pytest.mark.parametrize("log_file", ["evbus.log", "own.log"])
def test_a_strangers_text_forges_no_line_and_controls_no_terminal(root, capsys, tmp_path, log_file):
    place = tmp_path / log_file
    set_up(log_file=str(place) if log_file == "own.log" else log_file)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("shop").exception("failed: %s", HOSTILE)
    for text in (capsys.readouterr().err, *([place.read_text()] if log_file == "own.log" else [])):
        first, *others = text.splitlines()
        assert "failed: no \\x1b[31m\\u202ered\\r\\x9b" in first
        assert "  Traceback (most recent call last):" in others
        assert all(line.startswith("  ") for line in others), text
        assert all(line.isprintable() for line in [first, *others])


def test_on_a_terminal_too_a_strangers_text_controls_nothing(root, monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(Console, "is_terminal", True)
    hub_console = Console(file=shown, width=200, color_system=None)
    handler = logs._console(hub_console, "text")
    handler.setFormatter(logs.VisibleFormatter(handler))
    root.addHandler(handler)
    logging.getLogger("shop").error("failed: %s", HOSTILE)
    assert "\\x1b[31m\\u202ered\\r\\x9b" in shown.getvalue()
    assert all(line.isprintable() for line in shown.getvalue().splitlines())
