"""The fuzz of a worker in short; `python -m tests.faults.fuzz` is the long form."""

from tests.faults.fuzz.rabbitmq import fuzz


async def test_whatever_messages_and_requests_hold_a_worker_lives_and_handles_or_dead_letters_all(rabbitmq, tmp_path):
    outcome = await fuzz(rabbitmq.url, 2000, 2000, seed=1, folder=tmp_path)
    assert outcome.violations == []
    assert outcome.dead > 500
    assert outcome.answers > 100
    assert outcome.calls > 5
