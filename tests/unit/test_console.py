"""cli/console.py: tables on wide and on narrow terminals."""

import io
import re

import pytest
from rich.cells import cell_len

from evbus_like.cli import console

COLUMNS = ("destination", "state", "waiting", "sending", "delivered", "reason")
ROWS = [("amqp:orders", "retrying", 630, 0, 1083, "cannot connect to RabbitMQ at rabbit:5672,\nnobody listens there")]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(params=[60, 80, 120])
def printed(request, monkeypatch):
    """What a table looks like on a terminal, and how wide that is."""
    monkeypatch.setenv("COLUMNS", str(request.param))
    stream = Terminal()
    console.table("Destinations", COLUMNS, ROWS, to=stream)
    return re.sub("\x1b\\[\\d*m", "", stream.getvalue()).splitlines(), request.param


def test_a_table_fits_the_terminal_and_tears_no_word_or_number(printed):
    lines, width = printed
    words = " ".join(lines).split()

    assert max(map(cell_len, lines)) <= width
    assert {"RabbitMQ", "1083", "630"} <= set(words) | {word.rstrip(",") for word in words}
    assert any("retrying" in line for line in lines)


def test_without_a_terminal_a_table_stays_a_table(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()
    console.table("Destinations", COLUMNS, ROWS, to=stream)

    assert "┃ destination" in stream.getvalue()
