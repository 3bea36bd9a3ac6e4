"""engine/receiving/failure_log.py and sensitive.py: what the log says of a failed call, and what it does not."""

import dataclasses
import enum
import logging
import typing

import pytest

from evbus_like.engine.errors import BadEvent
from evbus_like.engine.receiving.sensitive import HIDDEN, MOST, redacted, shown
from evbus_like.handlers import REJECT
from tests.unit.fakes import until
from tests.unit.sources import Log, Source, consuming


class Kind(enum.Enum):
    GOLD = "gold-4111"


@dataclasses.dataclass
class Card:
    number: str
    owner: str = "Ada"


class Pair(typing.NamedTuple):
    number: str
    owner: str = "Ada"


BODIES = {
    "a mapping": {"card": {"number": "4111-2222", "owner": "Ada"}},
    "a list of mappings": {"card": [{"number": "4111-2222", "owner": "Ada"}]},
    "a dataclass": {"card": Card("4111-2222")},
    "a named tuple": {"card": Pair("4111-2222")},
    "a tuple of them": {"card": (Card("4111-2222"), Pair("4111-2222"))},
    "a set": {"card": {Pair("4111-2222")}},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_what_is_sensitive_is_hidden_in_whatever_a_body_holds(body):
    text = shown(body, ("card.number",))
    assert "4111" not in text
    assert "Ada" in text
    assert redacted("bad card 4111-2222 of Ada", body, ("card.number",)) == f"bad card {HIDDEN} of Ada"


@pytest.mark.parametrize(
    ("body", "path", "text"),
    [
        ({"kind": Kind.GOLD}, "kind", "no such kind: gold-4111"),
        ({"pin": 4111}, "pin", "wrong pin: 4111"),
        ({"all": {"deep": ["4111"]}}, "all", "wrong: 4111"),
        ({"name": "4111"}, "*", "wrong: 4111"),
        ("4111", "*", "wrong: 4111"),
        ({"text": "it's\n4111"}, "text", f"wrong: {'''it's''' + chr(10) + '4111'!r}"),
        ([str(number) for number in range(MOST + 5)], "*", "wrong: 4111"),
    ],
)
def test_a_text_that_quotes_what_is_sensitive_does_not_show_it(body, path, text):
    assert "4111" not in redacted(text, body, (path,))


def test_a_text_stays_as_it_is_where_nothing_is_sensitive_or_too_short_to_tell():
    assert redacted("wrong: 4111", {"pin": "4111"}, ()) == "wrong: 4111"
    assert (
        redacted("a wrong pin: 4", {"pin": "4", "none": None, "no": False}, ("pin", "none", "no")) == "a wrong pin: 4"
    )


class SensitiveError(Exception):
    pass


def wrong_card(event):
    raise SensitiveError(f"no such card: {event.body['card']}")


async def failed(body, caplog, function=wrong_card, **options):
    """What the log, and the dead letter, say of a handler that fails."""
    source = Source()
    async with consuming(source, Log(function), **{"on_error": REJECT, **options}) as consumer:
        consumer.invoker.decode = body if callable(body) else lambda event: body
        source.put(1)
        await until(lambda: source.settled)
    record = next(each for each in caplog.records if "1" in each.getMessage())
    return logging.Formatter("%(message)s").format(record), source.reasons["1"]


async def test_neither_log_nor_traceback_nor_dead_letter_shows_what_is_sensitive(caplog):
    for text in await failed({"card": "4111-2222"}, caplog, sensitive="card"):
        assert "4111" not in text
        assert f"SensitiveError: no such card: {HIDDEN}" in text
    assert "Traceback" in caplog.text
    assert "wrong_card" in caplog.text


@pytest.mark.parametrize("sensitive", [(), ("card",), ("*",), ("a.b", "a")])
@pytest.mark.parametrize("deepest", [[], {"card": "4111-2222"}], ids=["lists", "a mapping"])
async def test_a_body_that_is_too_deep_to_look_through_is_given_up_as_any_other(caplog, sensitive, deepest):
    body = deepest
    for _ in range(1_000):
        body = [body]
    text, reason = await failed(body, caplog, sensitive=sensitive)
    assert "TypeError" in reason or reason.endswith(HIDDEN)
    assert "4111" not in text or not sensitive


async def test_a_body_that_cannot_be_decoded_is_not_quoted_where_something_is_sensitive(caplog):
    def decode(event):
        raise ValueError("what is card: 4111-2222")

    for text in await failed(decode, caplog, sensitive="card"):
        assert "4111" not in text
        assert "ValueError" in text
    assert "4111" in (await failed(decode, caplog))[1]


async def test_a_body_that_is_not_as_declared_is_not_quoted_where_it_is_sensitive(caplog):
    class Declared:
        @staticmethod
        def check(body):
            raise BadEvent(f"auth.made: kind: invalid enum value {body['kind']!r}")

    source = Source()
    async with consuming(source, Log(), sensitive="kind", declared={"kind": Declared}) as consumer:
        consumer.invoker.decode = lambda event: {"kind": "gold-4111"}
        source.put(1)
        await until(lambda: source.settled)
    assert source.reasons["1"] == f"its body is not as declared: auth.made: kind: invalid enum value '{HIDDEN}'"
    assert "4111" not in caplog.text


async def test_a_failure_is_logged_with_the_event_the_attempt_and_the_application_s_own_frames(caplog):
    text, _ = await failed({"card": "gold"}, caplog, on_error="retry", attempts=1)
    line, *trace = text.splitlines()
    assert line == (
        "handler.shipping.ship failed with orders.kind 1 (attempt 1 of 1):"
        " SensitiveError: no such card: gold; the event becomes a dead letter"
    )
    assert "caller.py" not in "".join(trace)
    assert "wrong_card" in "".join(trace)


async def test_an_expected_exception_is_one_line(caplog):
    text, _ = await failed({"card": "gold"}, caplog, expected_exceptions=SensitiveError)
    assert len(text.splitlines()) == 1
    assert "(attempt 1):" in text
