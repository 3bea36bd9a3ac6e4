"""The stress of handlers that fail in every way at once, in short; `python -m tests.faults.stress` is the long form."""

from tests.brokers.outside import OutsideKafka
from tests.faults import kafka_stress
from tests.faults.stress import stress


async def test_of_events_that_are_requeued_retried_and_rejected_at_once_none_is_lost_and_no_connection(rabbitmq):
    outcome = await stress(rabbitmq.port, 5000, seed=1, deadline=30.0)
    assert outcome.violations == []
    assert outcome.connections == 2  # one to receive, one to publish
    assert outcome.failed > 1000


async def test_none_is_lost_while_the_connections_of_failing_handlers_are_cut(rabbitmq):
    outcome = await stress(rabbitmq.port, 5000, seed=2, deadline=30.0, cut_every=0.5)
    assert outcome.violations == []
    assert outcome.connections > 4


async def test_on_kafka_no_offset_is_committed_before_its_events_are_done_and_none_is_lost(kafka):
    if isinstance(kafka, OutsideKafka):
        kafka.start()  # skips
    outcome = await kafka_stress.stress(kafka, 3600, seed=1, deadline=30.0)
    assert outcome.violations == []
    assert outcome.failed > 500


async def test_on_kafka_none_is_lost_while_the_connections_of_failing_handlers_are_cut(kafka):
    if isinstance(kafka, OutsideKafka):
        kafka.start()  # skips
    outcome = await kafka_stress.stress(kafka, 3600, seed=2, deadline=60.0, cut_every=2.0)
    assert outcome.violations == []
    assert outcome.connections > 12
