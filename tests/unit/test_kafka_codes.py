"""Error codes of Kafka: each has a name, is about something, and is never taken for another."""

from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka import errors as kafka

from evbus_like.engine.errors import BatchRejected, DestinationRefused, PoisonEvent, TransientError, UnknownOutcome
from evbus_like.kafka import codes, failures, internals


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (-1, "UNKNOWN_SERVER_ERROR (-1)"),
        (2, "CORRUPT_MESSAGE (2)"),
        (74, "FENCED_LEADER_EPOCH (74)"),
        (87, "INVALID_RECORD (87)"),
        (133, "SHARE_SESSION_LIMIT_REACHED (133)"),
        (999, "error 999, which this release does not know"),
    ],
)
def test_every_code_has_a_name_also_in_aiokafkas_errors(code, name):
    assert codes.name(code) == name
    assert name in failures.words(kafka.for_code(code)("topic", 3))


def test_aiokafkas_own_errors_stay_as_they_are():
    assert kafka.for_code(0) is kafka.NoError
    assert kafka.for_code(29) is kafka.TopicAuthorizationFailedError
    assert all(codes.name(code) != codes.name(code + 1) for code in range(-1, 140))


@pytest.mark.parametrize(
    ("code", "fixed", "kind"),
    [
        *[(code, True, PoisonEvent) for code in (10, 17, 18, 32, 87)],
        *[(code, True, BatchRejected) for code in (-1, 2, 134, 999, -7)],
        *[(code, True, DestinationRefused) for code in (21, 29, 31, 35, 43, 44, 53, 76)],
        *[(code, False, PoisonEvent) for code in (29, 43, 76)],
        *[(code, True, TransientError) for code in (5, 6, 19, 20, 45, 56, 59, 74, 89, 90)],
        (7, True, UnknownOutcome),
    ],
)
def test_every_code_is_about_the_event_or_the_topic_or_the_broker(code, fixed, kind):
    for error in (kafka.for_code(code)(), internals.BrokerError("t", 0, code, "in the broker's words", {})):
        found = failures.publishing(error, "k:1", fixed)
        assert type(found) is kind
        assert codes.name(code) in str(found)
        assert "UnknownError" not in str(found)
    assert "in the broker's words" in str(found)


def test_a_code_that_nobody_knows_may_be_about_the_broker_and_is_not_certain():
    found = failures.publishing(kafka.for_code(999)(), "k:1")
    assert isinstance(found, BatchRejected)
    assert not found.certain


NOTED = SimpleNamespace(exception=str)


def answered(code, *more):
    """Answer a batch, with another that waits behind it; gives the errors of both, None for those still open."""
    failed = {}
    place = TopicPartition("t", 0)
    batch, behind = (
        SimpleNamespace(
            tp=place,
            failure=lambda exception, n=n: failed.update({n: exception}),
            expired=lambda: False,
            future=NOTED,
            _drain_waiter=NOTED,
        )
        for n in (0, 1)
    )
    accumulator = SimpleNamespace(_batches={place: [behind]})
    sender = SimpleNamespace(client=None, _retry_backoff=0.1, _txn_manager=object(), _message_accumulator=accumulator)
    handler = internals.ProduceHandler(sender, {place: batch})
    handler._client = SimpleNamespace(force_metadata_update=lambda: None)
    response = SimpleNamespace(API_VERSION=8, topics=[("t", [(0, code, -1, -1, -1, *more)])])
    handler.handle_response(response)
    return failed.get(0), failed.get(1)


def test_a_refused_batch_fails_with_the_brokers_words_and_what_waits_behind_it_is_not_sent():
    refused, behind = answered(87, [(3, "no key"), (5, None)], "one or more records")
    assert (refused.errno, refused.records) == (87, {3: "no key", 5: ""})
    assert "INVALID_RECORD (87); one or more records" in str(refused)
    assert isinstance(behind, internals.NotSent)


WITHIN = "Timestamp 1 of message with offset 0 is out of range. The timestamp should be within [1000, 5000]"


@pytest.mark.parametrize(
    ("now", "timestamp", "text", "differ"),
    [
        (100.0, 99.0, WITHIN, True),  # too new for Kafka, and not from the future here
        (3.0, 99.0, WITHIN, False),  # from the future: it is about this event
        (100.0, 0.5, WITHIN, False),  # too old
        (100.0, 99.0, "too new", False),
    ],
)
def test_only_a_timestamp_that_is_right_here_and_too_new_for_kafka_is_about_the_clocks(
    monkeypatch, now, timestamp, text, differ
):
    monkeypatch.setattr(failures, "time", lambda: now)
    assert failures.clocks_differ(timestamp, text) is differ


def test_what_aiokafka_sends_again_by_itself_is_left_to_it():
    assert answered(6, [], None) == (None, None)


def test_a_code_to_come_is_no_reason_to_wait_for_ever():
    refused, _ = answered(999, [], None)
    assert refused.errno == 999
