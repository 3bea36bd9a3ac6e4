"""Hostile events and records at Kafka, in short; `python -m tests.faults.kafka_poison` is a long form."""

from tests.faults import kafka_fuzz, kafka_poison


async def test_of_bad_events_among_good_ones_each_has_a_reason_and_every_good_one_arrives_once(kafka, tmp_path):
    outcome = await kafka_poison.poison(kafka.bootstrap, 2000, 1, tmp_path / "outbox.sqlite")
    assert outcome.violations == []
    assert len(outcome.sorts) == len(kafka_poison.BAD)


async def test_fuzzed_records_stop_no_handler_and_good_ones_beside_them_are_handled(kafka):
    outcome = await kafka_fuzz.fuzz(kafka.bootstrap, 2000, seed=1, deadline=30.0)
    assert outcome.violations == []
    assert outcome.damaged
    assert outcome.dead
