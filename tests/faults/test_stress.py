"""The stress of handlers that fail in every way at once, in short; `python -m tests.faults.stress` is the long form."""

from tests.faults import kafka_stress
from tests.faults.stress import stress


async def test_of_events_that_are_requeued_retried_and_rejected_at_once_none_is_lost_and_no_connection(rabbitmq):
    outcome = await stress(rabbitmq.port, 5000, seed=1, deadline=30.0)
    assert outcome.violations == []
    assert outcome.connections == 2  # one to receive, one to publish
    assert outcome.failed > 1000


async def test_on_kafka_no_offset_is_committed_before_its_events_are_done_and_none_is_lost(kafka):
    outcome = await kafka_stress.stress(kafka.bootstrap, 2700, seed=1, deadline=30.0)
    assert outcome.violations == []
    assert outcome.failed > 500
