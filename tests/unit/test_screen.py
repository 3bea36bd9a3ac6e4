"""cli/screen.py: one screen of `evbus top`."""

import re
import time
from pathlib import Path

import pytest
from rich.cells import cell_len

from evbus_like.cli.screen import KEYS, SORTS, Seen, number, screen
from evbus_like.engine.histogram import NOTHING
from evbus_like.monitor.document import status


def lane(delivered=0, **facts):
    counts = dict.fromkeys(("waiting", "in_flight", "retried", "dead"), 0)
    return {"state": "open", "delivered": delivered, "oldest_age": 0.0, "dropped": {}, "trouble": "", **counts, **facts}


def handler(handled=0, **facts):
    counts = dict.fromkeys(("busy", "received", "failed", "retried", "requeued", "dead"), 0)
    named = {"handler": "shipping.ship", "source": "amqp:orders", "state": "open", "trouble": "", "running": NOTHING}
    return {**named, "handled": handled, "lag": None, **counts, **facts}


def seen(at, lanes, handlers=()):
    bus = {"state": "running", "outbox": None, "destinations": lanes}
    rows = {str(number): row for number, row in enumerate(handlers)}
    one = {"worker": None, "bus": bus, "handlers": rows, "services": {}}
    return Seen(at, status([one]))


def rows(lines):
    return [line for line in lines if line.startswith("amqp:")]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_no_line_is_wider_than_the_screen_and_at_60_cells_the_important_columns_are_there(width):
    now = seen(1.0, {"amqp:" + "a-very-long-name" * 5: lane(), "amqp:字字字字字字字字字字字字": lane()}, [handler()])
    lines = screen(now, None, "name", width, 40, colour=False)

    assert max(map(cell_len, lines)) <= width
    if width >= 60:
        assert {"state", "/s", "waiting", "oldest", "dead"} <= set(lines[1].split())


def test_there_are_no_more_lines_than_the_screen_has_and_it_says_so():
    lines = screen(seen(1.0, {f"amqp:{n}": lane() for n in range(100)}), None, "name", 80, 24, colour=False)

    assert len(lines) == 24
    assert "more lines" in lines[-2]
    assert lines[-1] == KEYS


def test_rates_are_those_between_two_looks_and_a_restarted_process_counts_from_0():
    before = seen(1.0, {"amqp:a": lane(100), "amqp:b": lane(100)})
    now = seen(3.0, {"amqp:a": lane(300), "amqp:b": lane(50), "amqp:new": lane(9)})
    found = {line.split()[0]: line.split()[2] for line in rows(screen(now, before, "name", 80, 24, colour=False))}

    assert found == {"amqp:a": "100", "amqp:b": "25", "amqp:new": "0"}


@pytest.mark.parametrize(
    ("sort", "order"), [("name", "abc"), ("rate", "bca"), ("waiting", "cab"), ("oldest", "acb"), ("dead", "cba")]
)
def test_it_is_sorted_by_what_a_key_asks_for(sort, order):
    before = seen(0.0, {f"amqp:{name}": lane() for name in "abc"})
    lanes = {
        "amqp:c": lane(5, waiting=9, oldest_age=2.0, dead=3),
        "amqp:b": lane(9, waiting=1, oldest_age=1.0, dead=2),
        "amqp:a": lane(1, waiting=5, oldest_age=3.0, dead=1),
    }
    lines = screen(seen(1.0, lanes), before, sort, 80, 24, colour=False)

    assert sort in SORTS.values()
    assert [line.split()[0] for line in rows(lines)] == [f"amqp:{name}" for name in order]


def test_what_is_wrong_is_in_words_and_without_control_characters_also_without_colour():
    away = lane(state="retrying", trouble="no route \x1b[2J to host")
    lines = screen(seen(1.0, {"amqp:a": away}), None, "name", 80, 24, colour=False)

    assert lines[1].startswith("- destination amqp:a is retrying: no route")
    assert not any("\x1b" in line for line in lines)
    coloured = screen(seen(1.0, {"amqp:a": away}), None, "name", 80, 24, colour=True)
    assert "\x1b[31m" in coloured[1]
    assert "\x1b[2J" not in "".join(coloured)


def test_handlers_show_how_long_they_take():
    running = {**NOTHING, "count": 4, "sum": 0.1}
    lines = screen(seen(1.0, {}, [handler(4, running=running)]), None, "rate", 100, 24, colour=False)

    (row,) = [line for line in lines if line.startswith("shipping.ship on amqp:orders")]
    assert "25" in row.split()


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (3, "3"), (0.25, "0.2"), (42.4, "42"), (99_999, "99999"), (123_456, "123k"), (1_234_567, "1.23M")],
)
def test_numbers_are_short(count, text):
    assert number(count) == text


def test_the_screen_in_the_docs_is_what_the_command_shows(monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    monkeypatch.setattr(time, "strftime", lambda _: "13:14:15")
    monkeypatch.setattr(time, "time", lambda: 100.0)
    trouble = "cannot connect to RabbitMQ at rabbit:5672: 111 Connect call failed ('10.0.0.7', 5672)"
    lanes = [
        {"amqp:audit": lane(n), "amqp:orders": lane(state="retrying", trouble=trouble, waiting=20113, oldest_age=41.0)}
        for n in (0, 812)
    ]
    took = {**NOTHING, "count": 1000, "sum": 2.12}
    shipping = [handler(n, lag=37, running=took, source="amqp:audit", dead=3) for n in (0, 405)]
    before, now = (seen(at, lanes[at], shipping[at : at + 1]) for at in (0, 1))

    (block,) = re.findall(r"```console\n(evbus top: .*?)\n```", page, re.DOTALL)
    assert block.split("\n") == screen(now, before, "name", 60, 24, colour=False)
