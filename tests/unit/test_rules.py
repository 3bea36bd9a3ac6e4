"""engine/receiving/rules.py: which rule is meant, what it says, and which cannot be meant."""

from types import SimpleNamespace

import pytest

from evbus_like import handlers as evbus
from evbus_like.engine.errors import HandlerError
from evbus_like.engine.receiving import rules
from evbus_like.engine.receiving.disposition import failed
from evbus_like.hub.application.handlers import check_later
from tests.unit.fakes import until
from tests.unit.sources import Log, Source, consuming


def options(**given):
    @evbus.handler("orders", "placed", **given)
    def function(hub, event): ...

    return getattr(function, evbus.MARK)[0]


def test_the_first_rule_that_matches_counts_and_what_it_does_not_say_is_the_handlers():
    chosen = options(
        rules=[evbus.on((TimeoutError, KeyError), attempts=10), evbus.on(OSError, evbus.REJECT)], attempts=3, backoff=7
    )
    assert not chosen.problem()
    assert chosen.policy(TimeoutError()) == rules.Policy("retry", 10, 7, 60.0, ())
    assert chosen.policy(ConnectionError()).on_error == "reject"
    assert chosen.policy(ValueError()).attempts == 3


def test_an_exception_group_matches_a_rule_that_is_for_all_that_is_in_it():
    chosen = options(rules=[evbus.on(TimeoutError, attempts=10), evbus.on(ExceptionGroup, evbus.REJECT)])
    slow = ExceptionGroup("tasks", [TimeoutError(), ExceptionGroup("more", [TimeoutError()])])
    assert chosen.policy(slow).attempts == 10
    assert chosen.policy(ExceptionGroup("tasks", [TimeoutError(), ValueError()])).on_error == "reject"


def test_attempts_are_counted_in_one_place_first_the_quick_ones_then_the_later_ones():
    policy = options(attempts=2, backoff=1, later=[60, 600]).policy()
    assert 0.5 <= failed(policy, 1, "no").delay <= 1
    assert [failed(policy, attempt, "no").delay for attempt in (2, 3)] == [60, 600]
    assert failed(policy, 4, "no").kind == "dead_letter"
    assert failed(policy, 4, "no").reason == "given up after 4 attempts: no"
    # Whatever rules the earlier failures matched
    impatient = options(rules=[evbus.on(KeyError, attempts=1, later=())], attempts=2, later=[60]).policy(KeyError())
    assert failed(impatient, 3, "no").kind == "dead_letter"


def test_a_retry_that_a_handler_raises_waits_as_it_says_and_counts_as_an_attempt():
    chosen = options(attempts=2, on_error=evbus.REJECT)
    assert failed(chosen.policy(), 1, "", evbus.Retry(after=30)).delay == 30
    assert failed(chosen.policy(), 2, "", evbus.Retry(after=30)).kind == "dead_letter"
    patient = options(rules=[evbus.on(evbus.Retry, attempts=288)])
    assert failed(patient.policy(evbus.Retry()), 287, "", evbus.Retry(after=300)).delay == 300


@pytest.mark.parametrize(
    ("raised", "kind", "reason"),
    [
        (evbus.Reject("no such order"), "dead", "rejected: no such order"),
        (ExceptionGroup("tasks", [ValueError("x"), evbus.Reject("no such order")]), "dead", "rejected: no such order"),
        (evbus.Reject, "dead", "rejected: evbus.Reject"),
        (evbus.Reject("card 4711 is stolen"), "dead", "rejected: card *** is stolen"),
        (evbus.Requeue, "requeue", None),
        (evbus.Retry(after=0.01), "retry", None),
    ],
    ids=["rejected", "rejected in a group", "rejected without a reason", "a secret", "requeued", "retried"],
)
async def test_what_a_handler_raises_decides_whatever_on_error_says(raised, kind, reason):
    source = Source(retries=True)

    def function(event):
        event.body = {"card": "4711"}
        if event.attempt == 1:
            raise raised

    async with consuming(source, Log(function), on_error=evbus.ACK_AND_LOG, sensitive="card"):
        source.put(1)
        await until(lambda: source.settled)
    assert source.settled[0] == (kind, "1")
    assert source.reasons.get("1") == reason


async def test_a_decision_is_logged_in_one_line_and_says_what_becomes_of_the_event(caplog):
    def function(event):
        raise evbus.Retry("the printer is out of paper", after=7)

    source = Source(retries=True)
    async with consuming(source, Log(function), attempts=1000):
        source.put(1)
        await until(lambda: source.settled)
    line = next(each for each in caplog.records if "printer" in each.getMessage())
    assert "(attempt 1 of 1000): the printer is out of paper; retry in 7.0 s" in line.getMessage()
    assert not line.exc_info


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([TimeoutError], "rules must be a list of evbus.on(...), not"),
        ([evbus.on("TimeoutError")], "rule 1: it must name classes of exceptions, and 'TimeoutError' is none"),  # type: ignore[arg-type]
        ([evbus.on(())], "rule 1: it names no exception"),
        ([evbus.on(OSError), evbus.on(TimeoutError)], "rule 2: it never matches TimeoutError, which an earlier rule"),
        ([evbus.on(OSError, "again")], "rule 1: what it does must be one of evbus.RETRY, evbus.REQUEUE"),
        (
            [evbus.on(OSError, evbus.REJECT, attempts=3)],
            "rule 1: attempts is for evbus.RETRY",
        ),
        ([evbus.on(OSError, attempts=0)], "rule 1: attempts must be a whole number greater than 0"),
        ([evbus.on(OSError, backoff="1s")], "rule 1: backoff must be greater than 0"),  # type: ignore[arg-type]
        ([evbus.on(OSError, later=[60, -1])], "rule 1: later must be at most 100 delays"),
        ([evbus.on(evbus.Reject)], "rule 1: Reject says itself what becomes of the event"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_named_at_the_start(given, message):
    assert message in options(rules=given).problem()


def test_later_needs_retries():
    assert "later= is for on_error=evbus.RETRY" in options(later=[60], on_error=evbus.REJECT).problem()


@pytest.mark.parametrize("wrong", ["30", True, -1, float("nan"), float("inf"), 1e9])
def test_a_decision_with_a_wrong_delay_is_an_error_of_the_handler(wrong):
    with pytest.raises(HandlerError, match="after must be seconds, at most 2000000"):
        evbus.Retry(after=wrong)


def test_a_decision_whose_reason_is_no_text_says_how_it_is_written():
    with pytest.raises(HandlerError, match=r"write evbus\.Retry\(after=30\)"):
        evbus.Retry(30)


@pytest.mark.parametrize("given", [{"later": [60]}, {"rules": [evbus.on(OSError, later=[60])]}])
def test_later_is_refused_where_a_source_cannot_delay(given):
    kafka = SimpleNamespace(name="kafka:default", retries=False)
    rabbitmq = SimpleNamespace(name="amqp:default", retries=True)
    with pytest.raises(HandlerError, match="kafka:default keeps the order of keys: a waiting event would hold back"):
        check_later(kafka, options(**given))
    with pytest.raises(HandlerError, match="a handler with shards keeps the order"):
        check_later(rabbitmq, options(shards=2, **given))
    check_later(rabbitmq, options(**given))


def test_rules_in_words():
    chosen = options(rules=[evbus.on(TimeoutError, attempts=10), evbus.on(KeyError, evbus.REJECT)], later=[60, 3600])
    said = "TimeoutError: retry 10; KeyError: reject; else retry 5, later 60, 3600 s"
    assert rules.described(chosen.policy(), chosen.rules) == said
    assert [each.as_dict() for each in chosen.rules] == [
        {"exceptions": ["TimeoutError"], "on_error": "retry", "attempts": 10},
        {"exceptions": ["KeyError"], "on_error": "reject"},
    ]
